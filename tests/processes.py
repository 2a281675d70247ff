"""Functions run in several processes of this machine, as the processes of a run on several devices are."""

import socket
import tempfile
from collections.abc import Callable
from typing import Any

import torch


def in_processes(work: Callable[[int], Any], count: int) -> list[Any]:
    """What `work(rank)` returns in each of `count` processes of one process group.

    `work` is a function of a module, or a `partial` of one: it is found again in the new processes by its name.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_run, (work, count, port, folder), nprocs=count)
        return [torch.load(f"{folder}/{rank}.pt") for rank in range(count)]


def _run(rank: int, work: Callable[[int], Any], count: int, port: int, folder: str) -> None:
    address = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=count)
    torch.save(work(rank), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
