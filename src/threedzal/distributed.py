"""Bringing together what the processes of a run hold. Each function is the identity where there is one process."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, zip_longest
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from threedzal.errors import UserError

T = TypeVar("T")


def several_processes() -> bool:
    """Whether a process group of more than one process is running."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def process_rank() -> int:
    """This process's number among those of the run."""
    return dist.get_rank() if several_processes() else 0


def gather_objects(items: list[T]) -> list[T]:
    """All processes' lists, one after another, on every process."""
    if not several_processes():
        return items
    lists: list[list[T]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(lists, items)
    return [item for part in lists for item in part]


def gather_dealt(items: list[T]) -> list[T]:
    """Items that were dealt out to the processes in turn, as they lay before, on every process.

    So come back the batches of an `UnpaddedSampler`: what is then added up is added in the order of one process.
    """
    if not several_processes():
        return items
    lists: list[list[T]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(lists, items)
    nothing = object()
    return [item for item in chain.from_iterable(zip_longest(*lists, fillvalue=nothing)) if item is not nothing]


def agree(work: Callable[[], None]) -> None:
    """Run `work` on every process and raise the first `UserError` of any of them on all: none waits for one that ended.

    It is marked as told elsewhere on all processes but the first, so that the user reads it once.
    """
    problem = None
    try:
        work()
    except UserError as error:
        problem = str(error)
    problems = [sentence for sentence in gather_objects([problem]) if sentence is not None]
    if problems:
        raise UserError(problems[0], told=several_processes() and dist.get_rank() > 0)


def gather_rows(rows: Tensor) -> Tensor:
    """(N_r,D) of each process -> (sum N_r, D) on every process, in the order of ranks. A process may hold no row."""
    if not several_processes():
        return rows
    shapes = gather_objects([tuple(rows.shape)])
    width = max(shape[1] for shape in shapes)
    longest = max(shape[0] for shape in shapes)
    device = _carrier()
    padded = torch.zeros(longest, width, dtype=rows.dtype, device=device)
    padded[: len(rows)] = rows.to(device) if len(rows) else padded[:0]
    parts = [torch.empty_like(padded) for _ in shapes]
    dist.all_gather(parts, padded)
    return torch.cat([part[: shape[0]] for part, shape in zip(parts, shapes, strict=True)]).to(rows.device)


def add_up(values: Tensor) -> Tensor:
    """The sum over all processes of a tensor of the same shape on each."""
    if not several_processes():
        return values
    total = values.to(_carrier(), copy=True)
    dist.all_reduce(total)
    return total.to(values.device)


def of_first(values: Tensor) -> Tensor:
    """The first process's tensor, in place of those of the same shape that the others have."""
    if not several_processes():
        return values
    sent = values.to(_carrier(), copy=True)
    dist.broadcast(sent, src=0)
    return sent.to(values.device)


def _carrier() -> torch.device:
    """Where tensors must lie for the process group to carry them."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
