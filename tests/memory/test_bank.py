"""The bank against torch.cdist in float64, on every path."""

import sys

import pytest
import torch

from threedzal.errors import UserError
from threedzal.memory import MemoryBank, bank, coarse, flat
from threedzal.memory.coarse import CoarseSearch


@pytest.fixture(params=["in one block", "in many", "in bfloat16", "in many of bfloat16"])
def path(request, monkeypatch):
    """Small blocks, so that several are merged; bounds from bfloat16, as where it is fast, and without."""
    monkeypatch.setattr(coarse, "has_fast_bfloat16", lambda device: "bfloat16" in request.param)
    monkeypatch.setattr(coarse, "FEWEST_QUERIES", 1)
    monkeypatch.setattr(coarse, "FEWEST_ROWS", 1)
    if "many" in request.param:
        monkeypatch.setattr(flat, "ROW_CHUNK", 100)
        monkeypatch.setattr(bank, "QUERY_CHUNK", 7)
    return request.param


def rows_and_queries(offset=0.0):
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(n, 24, generator=generator) + offset for n in (450, 40))


@pytest.mark.parametrize("k", [1, 3, 60])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_flat_search_is_exact(path, k, offset):
    rows, queries = rows_and_queries(offset)
    distances, found = MemoryBank.build(rows).search(queries, k)
    exact, expected = torch.cdist(queries.double(), rows.double()).topk(k, largest=False)
    assert distances.dtype == torch.float32 and found.dtype == torch.int64
    assert torch.equal(found, expected)
    torch.testing.assert_close(distances.double(), exact, rtol=2e-6, atol=0)


def clusters(rows: int, *, spread: float, seed: int = 0) -> torch.Tensor:
    """Rows (rows, 200) around a few places far from one another."""
    generator = torch.Generator().manual_seed(seed)
    places = 10 * torch.randn(5, 200, generator=torch.Generator().manual_seed(9))
    drawn = torch.randint(5, (rows,), generator=generator)
    return places[drawn] + spread * torch.randn(rows, 200, generator=generator)


@pytest.mark.usefixtures("either_way")
def test_differences_are_rounded_as_torch_rounds_to_bfloat16():
    rows, origin = 10 ** (torch.rand(50, 33) * 60 - 30) * torch.randn(50, 33), torch.randn(33) * (torch.rand(33) < 0.5)
    rows[0] = origin + torch.linspace(1, 2, 33)[None] * 257 / 256  # some half-way
    out = torch.full((50, 35), 7.0)
    coarse._round_shifted(rows, origin, out=out)
    assert torch.equal(out[:, :33], (rows - origin).bfloat16().float())
    assert (out[:, 33:] == 7).all()


@pytest.mark.parametrize("spread", [10.0, 1.0, 0.1])
def test_no_row_outside_a_shortlist_of_bfloat16_is_nearer_than_it_says(spread):
    rows, queries = clusters(3000, spread=spread), clusters(100, spread=spread, seed=1)
    shortlist, beyond = CoarseSearch(flat.FlatSearch(rows)).shortlist(queries, 9)
    squared = (queries.double()[:, None] - rows.double()).square().sum(-1)
    outside = squared.scatter(1, shortlist, torch.inf).amin(1)
    assert (beyond <= outside).all()
    assert (outside - beyond).mean() < 0.01 * (rows - rows.mean(0)).square().sum(1).mean()  # and not for nothing


@pytest.mark.parametrize(("spread", "searched_again"), [(10.0, False), (0.1, True)])
def test_what_bfloat16_cannot_tell_apart_is_searched_in_float32(path, spread, searched_again, monkeypatch):
    rows, queries = clusters(1500, spread=spread), clusters(80, spread=spread, seed=1)
    asked, search = [], flat.FlatSearch.__call__

    def counted(self, queries, count):
        asked.append(len(queries))
        return search(self, queries, count)

    monkeypatch.setattr(flat.FlatSearch, "__call__", counted)
    distances, found = MemoryBank.build(rows).search(queries, 3)
    exact, expected = torch.cdist(queries.double(), rows.double()).topk(3, largest=False)
    assert torch.equal(found, expected)
    torch.testing.assert_close(distances.double(), exact, rtol=2e-6, atol=0)
    assert not coarse.has_fast_bfloat16(rows.device) or (sum(asked) > 40) == searched_again


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("width", [3, 40])  # a block narrower than what is kept, and wider
def test_the_smallest_of_blocks_are_those_of_the_whole(width):
    values = torch.rand(30, 170, generator=torch.Generator().manual_seed(0))
    kept, columns = flat.smallest_of_blocks(values.split(width, 1), 9)
    expected = values.topk(9, largest=False).values
    assert torch.equal(kept.sort(1).values, expected)
    assert torch.equal(values.gather(1, columns), kept)


def test_a_row_is_at_distance_zero_from_itself_even_far_from_the_origin(path):
    rows, _ = rows_and_queries(offset=5000.0)
    distances, found = MemoryBank.build(rows).search(rows, 1)
    assert torch.equal(found[:, 0], torch.arange(450))
    assert distances.max().item() == 0.0


def test_equal_rows_are_listed_lowest_first(path):
    rows = torch.tensor([[9.0], [1.0], [0.0], [1.0], [-1.0]])
    distances, found = MemoryBank.build(rows).search(torch.zeros(1, 1), 4)
    assert found.tolist() == [[2, 1, 3, 4]]
    assert distances.tolist() == [[0.0, 1.0, 1.0, 1.0]]


def test_all_rows_can_be_asked_for_but_not_more(path):
    built = MemoryBank.build(torch.randn(6, 2))
    assert built.search(torch.randn(3, 2), 6)[1].sort(1).values.tolist() == [list(range(6))] * 3
    with pytest.raises(UserError, match="k = 7 for a bank of 6 rows"):
        built.search(torch.randn(3, 2), 7)


def test_no_queries_give_no_rows(path):
    distances, rows = MemoryBank.build(torch.randn(6, 2)).search(torch.zeros(0, 2), 3)
    assert distances.shape == rows.shape == (0, 3)


@pytest.mark.parametrize("index", ["HNSW32", "IVF4,Flat", "IVF4,PQ5x4", "OPQ6_12,IVF4,PQ6x4", "SQ8"])
def test_other_indexes_return_true_distances_of_the_rows_they_name(index):
    rows, queries = rows_and_queries()  # 24 numbers are no multiple of PQ5's parts
    distances, found = MemoryBank.build(rows, index).search(queries, 3)
    assert found.min() >= 0
    torch.testing.assert_close(distances, (rows[found] - queries[:, None]).norm(dim=-1))
    exact = torch.cdist(queries, rows).min(1).values
    assert (distances[:, 0] <= exact * 1.5).all()


@pytest.mark.parametrize("index", ["IVF32,Flat", "HNSW8"])
def test_an_index_is_searched_as_deep_as_the_recall_asks(index):
    rows = torch.randn(2000, 24, generator=torch.Generator().manual_seed(1))
    queries = rows + 0.3 * (rows.roll(1, 0) - rows)
    nearest = torch.cdist(queries, rows).argmin(1)
    depths, recalls = [], []
    for wanted in (0.5, 0.99):
        built = MemoryBank.build(rows, index, recall=wanted)
        found = built.search(queries, 1)[1][:, 0]
        depths.append(built.depth)
        recalls.append((found == nearest).float().mean().item())
        assert recalls[-1] > wanted - 0.1  # measured on 512 points, asked here for others
    assert depths[0] < depths[1] and recalls[0] < recalls[1]


def test_the_depth_is_kept_and_can_be_chosen_again():
    built = MemoryBank.build(torch.randn(2000, 24), "IVF32,Flat", recall=0.5)
    assert MemoryBank.from_state_dict(built.state_dict()).depth == built.depth
    assert MemoryBank.from_state_dict(built.state_dict(), recall=1.0).depth > built.depth
    assert MemoryBank.from_state_dict(built.state_dict(), index="Flat").index == "Flat"
    older = {name: value for name, value in built.state_dict().items() if name != "depth"}  # files of version 0.1
    assert MemoryBank.from_state_dict(older).depth > 0


def test_too_few_rows_for_the_lists_are_named():
    with pytest.warns(UserWarning, match="IVF64,Flat.* 64 lists for 450 rows.*IVF11"):
        MemoryBank.build(torch.randn(450, 24), "IVF64,Flat")


def test_flat_rows_are_neither_copied_nor_moved():
    rows = torch.randn(450, 24)
    assert MemoryBank.build(rows).features.data_ptr() == rows.data_ptr()


def test_an_inverted_list_that_runs_out_is_completed_exactly():
    rows = torch.cat([torch.randn(150, 2), torch.randn(3, 2) + 1000.0])
    query = torch.full((1, 2), 1000.0)
    _, found = MemoryBank.build(rows, "IVF2,Flat").search(query, 8)
    expected = torch.cdist(query.double(), rows.double()).topk(8, largest=False).indices
    assert torch.equal(found, expected)


@pytest.mark.filterwarnings("ignore:index 'IVF4096")
@pytest.mark.parametrize("index", ["Flatt", "IVF4096,Flat"])
def test_an_index_faiss_cannot_build_gets_a_sentence(index):
    with pytest.raises(UserError, match=index):
        MemoryBank.build(torch.randn(50, 4), index)


def test_only_flat_works_without_faiss(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match="faiss-cpu"):
        MemoryBank.build(torch.randn(50, 4), "HNSW32")


def test_a_bank_survives_save_and_load(tmp_path):
    rows, queries = rows_and_queries()
    built = MemoryBank.build(rows, "HNSW16")
    built.save(tmp_path / "new" / "bank.safetensors")
    loaded = MemoryBank.load(tmp_path / "new" / "bank.safetensors")
    assert loaded.index == "HNSW16" and len(loaded) == 450
    assert torch.equal(loaded.features, rows)
    assert torch.equal(loaded.search(queries, 2)[1], built.search(queries, 2)[1])
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["bank.safetensors"]


def test_the_state_fits_a_checkpoint_that_is_read_without_pickle(tmp_path):
    built = MemoryBank.build(torch.randn(9, 3))
    torch.save({"bank": built.state_dict()}, tmp_path / "last.ckpt")
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["bank"]
    assert torch.equal(MemoryBank.from_state_dict(state).features, built.features)


def test_a_failed_save_leaves_the_old_bank(tmp_path, monkeypatch):
    target = tmp_path / "bank.safetensors"
    old = MemoryBank.build(torch.randn(4, 2))
    old.save(target)

    def full_disk(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(OSError):
        MemoryBank.build(torch.randn(8, 2)).save(target)
    assert torch.equal(MemoryBank.load(target).features, old.features)
    assert len(list(tmp_path.iterdir())) == 1


def test_files_that_are_no_bank_get_a_sentence(tmp_path):
    with pytest.raises(UserError, match="no such memory bank"):
        MemoryBank.load(tmp_path / "absent")
    (tmp_path / "text").write_text("hello, this is not a bank of any kind")
    with pytest.raises(UserError, match="not a safetensors file"):
        MemoryBank.load(tmp_path / "text")


@pytest.mark.parametrize("features", [torch.rand(3), torch.zeros(0, 4), torch.full((3, 2), torch.inf)])
def test_wrong_features_get_a_sentence(features):
    with pytest.raises(UserError, match="MemoryBank"):
        MemoryBank.build(features)


def test_queries_of_another_width_get_a_sentence():
    with pytest.raises(UserError, match="wanted \\(queries, 3\\)"):
        MemoryBank.build(torch.rand(5, 3)).search(torch.rand(2, 4), 1)


def test_autocast_and_inference_mode_do_not_change_the_search(path):
    rows, queries = rows_and_queries(offset=3.0)
    expected = MemoryBank.build(rows).search(queries, 5)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        got = MemoryBank.build(rows.clone()).search(queries.clone(), 5)
    assert torch.equal(got[1], expected[1]) and torch.equal(got[0], expected[0])


def test_what_a_bank_was_chosen_from_travels_with_it(tmp_path):
    bank = MemoryBank.build(torch.eye(4), coverage=(40, 0.75))
    bank.save(tmp_path / "bank.safetensors")
    assert MemoryBank.load(tmp_path / "bank.safetensors").coverage == (40, 0.75)
    assert MemoryBank.build(torch.eye(4)).coverage is None
