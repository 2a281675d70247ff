"""A cache keeps to its size: what was not used for longest goes, also while others read and write."""

import multiprocessing
import os
import re

import numpy as np
import pytest

from threedzal.cli import main
from threedzal.features.cache import ArrayCache, digest, kept_files, prune

ARRAY = np.zeros(1000, np.uint8)
FILE = 1300  # bytes of such an array in a file of its own, about


def fill(folder, count: int, *, limit: float | None = None) -> list[str]:
    """`count` arrays, used one second after another; their keys, the oldest first."""
    keys = [digest(i) for i in range(count)]
    for i, key in enumerate(keys):
        cache = ArrayCache(folder, limit=limit)
        cache.get_or_compute(key, lambda: {"fpfh": ARRAY})
        if cache.path(key).exists():
            os.utime(cache.path(key), (1e9 + i, 1e9 + i))
    return keys


def names(folder) -> set[str]:
    return {file.path.stem for file in kept_files(folder)}


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    keys = fill(tmp_path, 6)
    ArrayCache(tmp_path).get_or_compute(keys[0], dict)  # used again: the newest now
    removed = prune(tmp_path, 3 * FILE)
    assert [file.path.stem for file in removed] == keys[1:4]
    assert names(tmp_path) == {keys[0], *keys[4:]}
    assert prune(tmp_path, 3 * FILE) == []
    prune(tmp_path, 0)
    assert names(tmp_path) == set()


def test_a_cache_with_a_limit_keeps_to_it_by_itself(tmp_path):
    keys = fill(tmp_path, 8, limit=4 * FILE)
    assert names(tmp_path) == set(keys[4:])


def test_what_was_pruned_is_computed_again_without_a_word(tmp_path, recwarn):
    (key,) = fill(tmp_path, 1)
    prune(tmp_path, 0)
    assert ArrayCache(tmp_path).get_or_compute(key, lambda: {"x": np.ones(1)})["x"] == 1
    assert not recwarn.list


def test_one_that_prunes_at_a_time(tmp_path):
    import fcntl

    fill(tmp_path, 2)
    with open(tmp_path / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert prune(tmp_path, 0) == []
    assert len(prune(tmp_path, 0)) == 2


def _use(folder: str, seed: int) -> None:
    """Write and read arrays in a cache that holds a quarter of them."""
    rng, cache = np.random.default_rng(seed), ArrayCache(folder, limit=5 * FILE)
    for i in rng.integers(20, size=150):
        kept = cache.get_or_compute(digest(int(i)), lambda i=i: {"x": np.full(1000, i, np.uint8)})
        assert (kept["x"] == i).all()


@pytest.mark.filterwarnings("error")
def test_several_may_write_read_and_prune_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_use, args=(str(tmp_path), seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert not list(tmp_path.rglob("*.tmp"))
    ArrayCache(tmp_path, limit=5 * FILE).put(digest("last"), {"x": ARRAY})  # the folder may have been locked all along
    assert len(kept_files(tmp_path)) <= 5


def test_the_command_shows_and_prunes(tmp_path, capsys):
    keys = fill(tmp_path, 3)
    ArrayCache(tmp_path).get_or_compute(digest("mask"), lambda: {"bits": ARRAY})
    assert main(["cache", "show", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"FPFH\W+3 ", shown) and re.search(r"background masks\W+1 ", shown)
    assert main(["cache", "prune", str(tmp_path), "--max-size", f"{3 * FILE / 1000}KB"]) == 0
    assert "removed 1 files" in capsys.readouterr().out and keys[0] not in names(tmp_path)
    assert main(["cache", "show", str(tmp_path / "nothing")]) == 2
    assert "there is no" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"), [("50GB", 50e9), ("1.5 tb", 1.5e12), ("0", 0), ("10M", 10e6), ("7KB", 7e3), ("12B", 12)]
)
def test_sizes_are_read_as_written(text, size):
    from threedzal.features.cache_commands import size_in_bytes

    assert size_in_bytes(text) == size
