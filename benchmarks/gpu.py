"""From the tensors of scans to their maps, on a GPU or a CPU: scans a second, and where the time goes.

    python -m benchmarks.gpu --device cuda                    # TF32 products in the networks
    python -m benchmarks.gpu --device cuda --precision strict # float32 throughout
    python -m benchmarks.gpu --device cpu --scans 2 --batch 2 --backbone resnet18 --bank_rows 2000

Object patches only; the bank is on the device; FPFH in torch on the organised grid; the perturbation of eq. (8)
included. Weights and bank are random: they change no time. A stage's share of the roofline is its multiplications and
additions over what a matrix product of the same precision reaches in the same run.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.speed.networks import flops_of
from threedzal.data.generated.scan import ScanSpec, make_scan
from threedzal.data.scan import Scan, ScanPreparation, ScanRecord, collate_scans, prepare_scan
from threedzal.features import fpfh, fpfh_grid
from threedzal.maps import realign
from threedzal.memory import MemoryBank
from threedzal.model import ThreeDZAL
from threedzal.scoring import abnormal_probability, distance_scores, perturb

ETA = 0.1


def main(options: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=["tf32", "strict"], default="tf32")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--scans", type=int, default=64)
    parser.add_argument("--bank_rows", type=int, default=19_129)
    parser.add_argument("--backbone", default="wide_resnet50_2")
    parser.add_argument("--chunk", type=int, help="patches at a time in the perturbation; by default all on a GPU")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(options)
    torch.set_float32_matmul_precision("high" if arguments.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = arguments.precision == "tf32"
    device = torch.device(arguments.device)

    host = collate_scans([prepared(number) for number in range(arguments.batch)])
    if device.type == "cuda":
        host = host.pin_memory()
    model = ThreeDZAL(backbone=arguments.backbone, rgb_weights="random")
    model.load_pretrained()
    model.eval().to(device)
    width = sum(model.branch_widths.values())
    bank = MemoryBank.build(
        torch.rand(arguments.bank_rows, width, generator=torch.Generator().manual_seed(0)).to(device)
    )
    chunk = arguments.chunk or (10**6 if device.type == "cuda" else 32)

    rounds = max(1, arguments.scans // arguments.batch)
    with torch.no_grad():
        stages = pipeline(model, bank, host, device, chunk=chunk)
        per_stage = {name: [] for name in stages}
        for _ in range(2):  # the first run chooses kernels and fills caches
            run(stages, device, per_stage)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start = clock(device)
        for _ in range(rounds):
            run(stages, device)
        seconds = (clock(device) - start) / rounds
        work = {name: flops_of(stage) for name, stage in stages.items() if name != "perturbation"}
        work["perturbation"] = 2 * work["C_w, map"]  # forward, and the gradient of what goes in
        product = product_rate(device)
    report(arguments, host, seconds, {name: spent[-1] for name, spent in per_stage.items()}, work, product, device)


def prepared(number: int) -> Scan:
    scan = make_scan(ScanSpec("bumpy_disc", "train", "good", number), size=400)
    record = ScanRecord("bumpy_disc", "train", "good", f"{number:03d}", Path())
    return prepare_scan(scan.xyz, scan.rgb, None, preparation=ScanPreparation(fpfh=False), record=record)


def pipeline(
    model: ThreeDZAL, bank: MemoryBank, host: Scan, device: torch.device, *, chunk: int
) -> dict[str, Callable[[], None]]:
    """Stages by name; each reads what those before left in `state`."""
    state: dict = {}

    def transfer() -> None:
        state["scan"] = host.to(device, non_blocking=True)

    def points() -> None:
        scan = state["scan"]
        scan.fpfh = fpfh_grid(fpfh(scan.xyz, scan.valid, backend="torch"))

    def rgb() -> None:
        state["rgb"] = model.rgb(state["scan"].rgb).flatten(2).transpose(1, 2)

    def encoder() -> None:
        state["embedding"] = model._on_cells(model.encoder, state["scan"])

    def search() -> None:
        parts = state["rgb"], state["scan"].fpfh.flatten(2).transpose(1, 2), state["embedding"]
        size = tuple(host.mask.shape[-2:])
        state["distance"] = distance_scores(torch.cat(parts, 2), bank, size=size)

    def perturbation() -> None:
        scan = state["scan"]
        state["moved"] = perturb(scan.patches[scan.cells], model.classifier, eta=ETA, chunk=chunk)

    def classification() -> None:
        scan = state["scan"]
        probability = scan.patches.new_zeros(scan.cells.shape)
        probability[scan.cells] = abnormal_probability(state["moved"], model.classifier, chunk=chunk)
        state["classified"] = realign(probability, size=tuple(host.mask.shape[-2:]))

    return {
        "to the device": transfer,
        "FPFH": points,
        "RGB": rgb,
        "E_theta": encoder,
        "search, reweighting, map": search,
        "perturbation": perturbation,
        "C_w, map": classification,
    }


def run(
    stages: dict[str, Callable[[], None]], device: torch.device, per_stage: dict[str, list[float]] | None = None
) -> None:
    for name, stage in stages.items():
        if per_stage is None:
            stage()
            continue
        start = clock(device)
        stage()
        per_stage[name].append(clock(device) - start)


def clock(device: torch.device) -> float:
    """Wall clock once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def product_rate(device: torch.device) -> float:
    """Operations a second of a float32 matrix product under the precision in force."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    spent = []
    for _ in range(5):
        start = clock(device)
        a @ b
        spent.append(clock(device) - start)
    return 2 * side**3 / min(spent)


def report(arguments, host: Scan, seconds: float, per_stage, work, product: float, device: torch.device) -> None:
    cuda = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if cuda else _resident_peak()
    name = torch.cuda.get_device_name(device) if cuda else platform.processor() or "CPU"
    print(f"{name}, {arguments.precision}: {product / 1e12:.2f} TFLOP/s in a product")
    print(f"{len(host.record) / seconds:.1f} scans/s at batch {len(host.record)}, peak memory {peak:.0f} MiB")
    print(f"{int(host.cells.sum())} object patches of {host.cells.numel()}, {arguments.bank_rows} bank rows\n")
    print("| stage | ms a batch | share of the time | of the roofline |\n|---|---|---|---|")
    total = sum(per_stage.values())
    for stage, spent in per_stage.items():
        roof = work[stage] / spent / product
        print(f"| {stage} | {1000 * spent:.1f} | {spent / total:.0%} | {roof:.1%} |")
    if arguments.json:
        record = {"device": name, "precision": arguments.precision, "scans_per_second": len(host.record) / seconds}
        record |= {"peak_mib": peak, "seconds": per_stage, "flops": work, "product_flops": product}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


def _resident_peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
