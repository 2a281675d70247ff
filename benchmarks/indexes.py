"""Which FAISS index at how many rows: recall, time and bytes, by the package's own `MemoryBank`.

    python benchmarks/indexes.py MVTEC_3D --train_class cable_gland --weights RESNET18.safetensors --rows 20000 200000

Rows are patches of real good scans (ResNet-18 and FPFH: 417 numbers), each scan turned and mirrored in eight ways and
its picture brightened until there are enough; the smallest count is a coreset of the next, as a bank is. Asked for are
the patches of test scans, defective ones among them. Seconds are CPU seconds of one thread, so that other work on the
machine does not count. Figures of more rows than --rows has are computed (`computed`): bytes by their definition, time
in proportion to the rows that are looked at.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import resource
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from threedzal import ThreeDZAL, ZeroShotDataModule
from threedzal.files import atomic_path, write_text
from threedzal.memory import MemoryBank, greedy_coreset

INDEXES = {
    20_000: ("Flat", "IVF256,Flat", "IVF256,PQ64", "HNSW32"),
    200_000: ("Flat", "IVF1024,Flat", "IVF1024,PQ64", "HNSW32"),
    2_000_000: ("Flat", "IVF4096,Flat", "IVF4096,PQ64", "HNSW32"),
}
SCAN = 784  # patches


def cpu_seconds(work: Callable[[], object]) -> tuple[float, object]:
    """What a piece of work takes, and what it gives."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, result


@torch.no_grad()
def patches(options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Features of the training patches, as many as wanted, and of test patches; kept in --cache."""
    path = Path(options.cache) / f"patches-{options.train_class}-{max(options.rows)}.pt"
    if not path.exists():
        model = ThreeDZAL(
            branches=("rgb", "fpfh"), classifier=False, backbone="resnet18", rgb_weights=options.weights, w_rd=0.0
        ).eval()
        model.load_pretrained()
        data = ZeroShotDataModule(
            root=options.root,
            train_classes=[options.train_class],
            test_classes=[options.train_class],
            protocol="in_class",
            auxiliary_classes=[options.train_class],
            batch_size=1,
            num_workers=0,
            cache_dir=options.cache,
        )
        data.setup("test")
        queries = [model.features(scan)[0] for scan in list(data.test_dataloader())[::12]]
        scans = list(data.bank_dataloader())
        rows, turn = [], 0
        while sum(map(len, rows)) < max(options.rows):
            for scan in scans:
                turned = [torch.rot90(v, turn % 4, (2, 3)) for v in (scan.rgb, scan.fpfh)]
                rgb, fpfh = turned if turn % 8 < 4 else [v.flip(3) for v in turned]
                rgb = rgb * (1 + 0.05 * (turn // 8))
                parts = [model.rgb(rgb, grid=28).flatten(2), fpfh.flatten(2)]
                rows.append(torch.cat(parts, 1)[0].T)
            turn += 1
        with atomic_path(path) as part:
            torch.save((torch.cat(rows)[: max(options.rows)].contiguous(), torch.cat(queries)), part)
    return torch.load(path, mmap=True)


def measured(rows: Tensor, queries: Tensor, index: str, nearest: Tensor) -> dict[str, float | str]:
    """One line of the table."""
    seconds, bank = cpu_seconds(lambda: MemoryBank.build(rows, index))
    searching, (_, found) = cpu_seconds(lambda: bank.search(queries, 1))
    return {
        "rows": len(rows),
        "index": index,
        "depth": bank.depth,
        "recall": (found[:, 0] == nearest).float().mean().item(),
        "ms": 1000 * searching * SCAN / len(queries),
        "build_s": seconds,
        "bytes": index_bytes(index, len(rows), rows.shape[1]),
        "how": "measured",
    }


def index_bytes(index: str, rows: int, width: int) -> int:
    """What an index holds beside the rows themselves, by its definition."""
    lists = int(found[1]) if (found := re.search(r"IVF(\d+)", index)) else 0
    if index == "Flat":
        return 4 * rows  # their norms
    if index.startswith("HNSW"):
        return rows * (4 * width + 4 * 2 * int(index[4:]))  # a copy, and the links of the lowest layer
    code = int(found[1]) if (found := re.search(r"PQ(\d+)", index)) else 4 * width
    return rows * (code + 8 * (lists > 0)) + 4 * lists * width


def scaled(line: dict, index: str, rows: int, width: int) -> dict[str, float | str]:
    """A line for more rows than were measured: time by how many rows a query looks at."""
    ratio = rows / line["rows"]
    if index.startswith("HNSW"):
        ratio = math.log(rows) / math.log(line["rows"])
    elif index.startswith("IVF"):  # as many lists are looked into, each as much longer as the rows have outgrown them
        lists, was = (int(re.search(r"IVF(\d+)", name)[1]) for name in (index, line["index"]))
        ratio *= was / lists
    size = index_bytes(index, rows, width)
    return {**line, "rows": rows, "index": index, "ms": line["ms"] * ratio, "bytes": size, "how": "computed"}


def table(lines: list[dict], width: int) -> str:
    """Markdown; a computed line has no recall."""
    text = [
        f"| rows of {width} numbers | index | depth | recall@1 | ms a scan | build, s | MiB beside the rows | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        known = line["how"] == "measured"
        recall, build = (f"{line['recall']:.3f}", f"{line['build_s']:.1f}") if known else ("", "")
        cells = (
            f"{line['rows']:,}".replace(",", " "),
            line["index"],
            line["depth"] or "",
            recall,
            f"{line['ms']:.0f}",
            build,
            f"{line['bytes'] / 2**20:.0f}",
            line["how"],
        )
        text.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root")
    parser.add_argument("--train_class", default="cable_gland")
    parser.add_argument("--weights", default="pretrained")
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000], choices=sorted(INDEXES))
    parser.add_argument("--cache", default=".cache")
    parser.add_argument("--out", default="lightning_logs/indexes.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    everything, queries = patches(options)
    lines, counts = [], sorted(options.rows)
    for count in counts:
        rows = everything[:count]
        if count == counts[0] and len(counts) > 1:
            rows = everything[greedy_coreset(everything[: counts[1]], count)]
        _, nearest = MemoryBank.build(rows).search(queries, 1)
        for index in INDEXES[count]:
            lines.append(measured(rows, queries, index, nearest[:, 0]))
            print(table(lines[-1:], rows.shape[1]).splitlines()[-1], flush=True)
            write_text(options.out, json.dumps(lines, indent=1))
    last = lines[-len(INDEXES[counts[-1]]) :]
    for count in (count for count in INDEXES if count > counts[-1]):
        width = everything.shape[1]
        lines += [scaled(line, index, count, width) for line, index in zip(last, INDEXES[count], strict=True)]
    write_text(options.out, json.dumps(lines, indent=1))
    print(table(lines, everything.shape[1]))


if __name__ == "__main__":
    main()
