"""The cache of arrays: what it keeps, and what it does with files that are not whole."""

import multiprocessing
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from threedzal.errors import UserError
from threedzal.features.cache import ArrayCache, digest


@dataclass(frozen=True)
class Preparation:
    size: int = 224
    mode: str = "remove"


def never() -> dict[str, np.ndarray]:
    raise AssertionError("computed although it was kept")


def test_kept_arrays_come_back_bit_for_bit_without_computing(tmp_path):
    arrays = {"fpfh": np.random.default_rng(0).random((33, 4, 4), np.float32), "cells": np.array([True, False])}
    key = digest("a scan")
    ArrayCache(tmp_path).get_or_compute(key, lambda: arrays)
    kept = ArrayCache(tmp_path).get_or_compute(key, never)
    assert kept.keys() == arrays.keys()
    for name, array in arrays.items():
        assert kept[name].dtype == array.dtype
        np.testing.assert_array_equal(kept[name], array)
    assert not list(tmp_path.rglob("*.tmp"))


def test_another_key_is_computed(tmp_path):
    cache = ArrayCache(tmp_path)
    cache.get_or_compute(digest(1), lambda: {"x": np.zeros(1)})
    assert cache.get_or_compute(digest(2), lambda: {"x": np.ones(1)})["x"] == 1


def test_no_folder_keeps_nothing():
    calls = []

    def compute() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"x": np.zeros(1)}

    cache = ArrayCache(None)
    cache.get_or_compute("key", compute)
    cache.get_or_compute("key", compute)
    assert len(calls) == 2


@pytest.mark.parametrize("damage", ["truncated", "noise", "empty", "pickle", "one bit"])
def test_a_damaged_file_is_computed_again_with_a_warning(tmp_path, damage):
    cache, key = ArrayCache(tmp_path), digest("scan")
    cache.get_or_compute(key, lambda: {"x": np.arange(1000)})
    path = cache.path(key)
    whole = path.read_bytes()
    damaged = {
        "truncated": whole[: len(whole) // 2],
        "noise": whole[:100] + b"x" * 900,
        "empty": b"",
        "pickle": pickle.dumps({"code": "may run"}),
        "one bit": whole[:-1] + bytes([whole[-1] ^ 1]),
    }
    path.write_bytes(damaged[damage])
    with pytest.warns(UserWarning, match="computing it again"):
        assert cache.get_or_compute(key, lambda: {"x": np.ones(2)})["x"].tolist() == [1, 1]
    assert cache.get_or_compute(key, never)["x"].tolist() == [1, 1]


def _write_repeatedly(folder: str, key: str, value: int) -> None:
    for _ in range(30):
        arrays = ArrayCache(folder).get_or_compute(key, lambda: {"x": np.full(20_000, value)})
        assert len(np.unique(arrays["x"])) == 1
        ArrayCache(folder).path(key).unlink(missing_ok=True)


def test_several_writers_never_see_half_a_file(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write_repeatedly, args=(str(tmp_path), digest(0), i)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]


def test_a_folder_that_cannot_be_made_is_named_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cache folder"):
        ArrayCache(tmp_path / "file").get_or_compute(digest(0), lambda: {"x": np.zeros(1)})


def test_the_digest_tells_apart_what_differs(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    array = np.arange(6, dtype=np.float32)
    parts = [
        ("ab", "c"), ("a", "bc"), (("a", "b"),), (1,), (1.0,), ("1",), (True,), (None,), ("None",), (b"1",),
        (array,), (array.reshape(2, 3),), (array.astype(np.float64),), (array + 1,), (Preparation(),),
        (Preparation(size=448),), ({"size": 224, "mode": "remove"},), (tmp_path / "a",), (tmp_path / "b",),
        (str(tmp_path / "a"),), ([],), ({},), (), ([[1], 2],), ([1, [2]],),
    ]  # fmt: skip
    assert len({digest(*part) for part in parts}) == len(parts)


def test_the_digest_is_that_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"same")
    (tmp_path / "b").write_bytes(b"same")
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(array.T) == digest(np.ascontiguousarray(array.T))
    assert digest(torch.from_numpy(array)) == digest(array)
    with pytest.raises(TypeError):
        digest(object())


def test_the_digest_is_the_same_in_another_process():
    code = "from threedzal.features.cache import digest; print(digest('x', {3, 1, 2, 'y'}, {'b': 1.5, 'a': None}))"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert other.stdout.strip() == digest("x", {3, 1, 2, "y"}, {"b": 1.5, "a": None})
