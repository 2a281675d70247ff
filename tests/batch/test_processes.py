"""Two processes give what one gives: each one's scans are searched against all, with uneven shares or none."""

import torch

from tests.processes import in_processes
from threedzal.batch import BatchOptions, BatchReference

WIDTHS = {"rgb": 6, "fpfh": 3}
SHARES = {"even": (4, 4), "odd": (3, 5), "none in one": (0, 8)}
OPTIONS = {"nearest": {}, "trimmed": {"trim": 0.1}, "share": {"neighbours": 0.4}, "early": {"fusion": "early"}}


def scan(index):
    """Features (P,D) and cells (P,) of scan `index`; 5 is 2 over again."""
    generator = torch.Generator().manual_seed(2 if index == 5 else index)
    return torch.randn(25, 9, generator=generator), torch.rand(25, generator=generator) < 0.8


def judge(indices, **options):
    batch = BatchReference(WIDTHS, BatchOptions(**options))
    for i in indices:
        batch.add(*scan(i), key=str(i))
    judgement = batch.judge()
    return {key: judgement.cells[i] for i, key in enumerate(judgement.keys)}, judgement.duplicates


def judge_shares(rank):
    results = {}
    for share, counts in SHARES.items():
        first = sum(counts[:rank])
        for name, options in OPTIONS.items():
            results[share, name] = judge(range(first, first + counts[rank]), **options)
    return results


def test_two_processes_give_what_one_gives():
    ranks = in_processes(judge_shares, 2)
    for name, options in OPTIONS.items():
        expected, duplicates = judge(range(8), **options)
        assert duplicates == [("2", "5")]
        for share in SHARES:
            (one, pairs), (other, _) = (rank[share, name] for rank in ranks)
            assert pairs == duplicates
            found = one | other
            assert found.keys() == expected.keys()
            for key, cells in expected.items():
                torch.testing.assert_close(found[key], cells, rtol=1e-3, atol=1e-3)
