"""Two processes give what one gives, with uneven shares and with a process that has no scan."""

import warnings

import torch

from tests.processes import in_processes
from threedzal.metrics import AUPRO, ScanMetrics, aupro

SHARES = {"even": (4, 4), "odd": (3, 5), "none in one": (0, 8)}
KINDS = ["good", "hole", "cut", "good", "hole", "cut", "cut", "good"]


def scan(index):
    """Scan `index`, one in a batch, as ScanMetrics takes it."""
    generator = torch.Generator().manual_seed(index)
    label = torch.tensor([int(KINDS[index] != "good")])
    mask = (torch.rand(1, 16, 12, generator=generator) > 0.9) & label.bool()[:, None, None]
    object = torch.rand(1, 16, 12, generator=generator) > 0.3
    maps = {name: torch.randn(1, 16, 12, generator=generator).mul(3).round() for name in ("fused", "foreground")}
    scores = {"fused": torch.randn(1, generator=generator)}
    return {"maps": maps, "scores": scores, "mask": mask, "object": object, "label": label, "defects": [KINDS[index]]}


def measure(indices):
    """AUPRO and the sorted table of the scans that this process has, brought together over all processes."""
    single, table = AUPRO(), ScanMetrics(defects=["cut", "hole"])
    for i in indices:
        batch = scan(i)
        table.update(**batch)
        single.update(batch["maps"]["fused"], batch["mask"], batch["object"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics: computed before any update, on the process without a scan
        found = {key: value.item() for key, value in table.compute().items()}
        return found | {"aupro": single.compute().item(), "corners": len(table.curves()["pro"][0])}


def measure_shares(rank):
    results = {}
    for name, shares in SHARES.items():
        first = sum(shares[:rank])
        results[name] = measure(range(first, first + shares[rank]))
    return results


def test_two_processes_give_what_one_gives():
    expected = measure(range(8))
    batches = [scan(i) for i in range(8)]
    preds, mask, roi = (
        torch.cat([read(b) for b in batches])
        for read in (lambda b: b["maps"]["fused"], lambda b: b["mask"], lambda b: b["object"])
    )
    assert expected["aupro"] == expected["fused/object_aupro_0.3"] == aupro(preds, mask, roi=roi).item()
    assert in_processes(measure_shares, 2) == [dict.fromkeys(SHARES, expected)] * 2
