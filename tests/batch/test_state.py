"""What streaming keeps between calls."""

import pytest
import torch
from torch import nn

from threedzal.batch.image_score import top_score
from threedzal.batch.rows import Rows
from threedzal.batch.state import absorbed, method_signature, read_state, scan_key, write_state
from threedzal.errors import UserError

WIDTHS = {"rgb": 4, "fpfh": 3}


def scans_of(counts, *, seed=0, prefix="scan"):
    generator = torch.Generator().manual_seed(seed)
    starts = [0, *torch.tensor(counts).cumsum(0).tolist()]
    keys = [f"{prefix}{i}#{seed}{i}" for i in range(len(counts))]
    return Rows(torch.randn(sum(counts), 7, generator=generator), starts, keys)


def test_a_state_comes_back_as_it_was(tmp_path):
    rows = scans_of([3, 0, 5])
    write_state(tmp_path / "box.safetensors", rows, signature="s")
    back = read_state(tmp_path / "box.safetensors", width=7, signature="s")
    assert torch.equal(back.features, rows.features)
    assert (back.starts, back.keys) == (rows.starts, rows.keys)
    assert [path.name for path in tmp_path.iterdir()] == ["box.safetensors"]


def test_no_file_yet_is_an_empty_history(tmp_path):
    rows = read_state(tmp_path / "none.safetensors", width=7, signature="s")
    assert len(rows) == 0 and rows.keys == [] and rows.features.shape == (0, 7)


def test_a_state_of_other_networks_and_a_file_of_another_kind_are_refused(tmp_path):
    write_state(tmp_path / "box.safetensors", scans_of([3]), signature="s")
    with pytest.raises(UserError, match="other networks"):
        read_state(tmp_path / "box.safetensors", width=7, signature="t")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UserError, match="is no state"):
        read_state(tmp_path / "text", width=7, signature="s")


def test_absorbing_keeps_the_bound_and_whose_each_row_is():
    history, arriving = scans_of([40, 40]), scans_of([30], seed=1, prefix="new")
    rows = absorbed(history, arriving, widths=WIDTHS, most=100)
    assert len(rows) == rows.starts[-1] == 80  # 0.8 of the bound
    assert rows.keys == [*history.keys, *arriving.keys]
    sources = [history.features[:40], history.features[40:], arriving.features]
    for scan, source in enumerate(sources):
        kept = rows.features[rows.starts[scan] : rows.starts[scan + 1]]
        assert (kept[:, None] == source).all(-1).any(1).all()
    assert len(absorbed(history, arriving, widths=WIDTHS, most=110)) == 110


def test_a_scan_given_again_replaces_itself():
    history = scans_of([4, 6])
    again = Rows(torch.ones(2, 7), [0, 2], ["renamed#00"])  # the digest of the first
    rows = absorbed(history, again, widths=WIDTHS, most=100)
    assert rows.keys == ["scan1#01", "renamed#00"]
    assert rows.starts == [0, 6, 8]


def test_scans_are_known_by_their_content(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (scan_key(name, tmp_path / name) for name in "abc")
    assert a.split("#")[1] == b.split("#")[1] != c.split("#")[1]


def test_the_signature_follows_weights_and_preparation():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = method_signature(network, "224")
    assert before == method_signature(network, "224") != method_signature(network, "448")
    with torch.no_grad():
        network[0].bias[0] += 1
    assert method_signature(network, "224") != before


def test_top_score_is_the_mean_of_the_highest_pixels():
    maps = torch.arange(200.0).view(2, 10, 10)
    object = torch.zeros(2, 10, 10, dtype=torch.bool)
    object[0, :2] = True  # 20 pixels: a tenth of them is 2
    assert top_score(maps, object, share=0.1).tolist() == [98.5, 199.0]  # no object: one pixel
