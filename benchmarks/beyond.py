"""What each part of ThreeDZALPlus is worth: docs/beyond.md's tables.

    threedzal data generate data/beyond --size 400 --train 8 --validation 4 --test_good 6 --test_per_defect 3
    threedzal data generate data/plus --size 400 --train 8 --validation 4 --test_good 0 --test_per_defect 0 \\
        --products 160
    python benchmarks/beyond.py data/beyond --products data/plus --weights resnet18.safetensors [--real SAMPLE_ROOT]

Built-in data: classes are left out (`--folds 10`: one at a time); a classifier learns from the training scans of the
others, with pseudo anomalies in them, and is tested on all test scans of the classes left out. Pasted pieces come from
the others, too. `pseudo` rows judge pseudo-anomalous validation scans of the classes left out: the only figures that
may choose. `--real` (or SAMPLE_ROOT) adds the real cable gland, judged by classifiers of all ten classes. All rows are
inductive: no scan of the tested class is seen before it is judged. `--fresh DATA2` and `--last DATA3`: test scans of
other generated data sets are judged, too, by the same classifiers (`fresh` and `last` rows). `--products DATA4`: random
products of another one are learned from, too, where a row says so. Views of scans and log-odds of experts are kept in
`--cache`, so that the script may be stopped and rows may share experts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from beyond_parts.experts import PICTURE, RAW, SURFACE, Experts, Row
from beyond_parts.scans import SHIFTS, Maker
from torch import Tensor

from threedzal.maps import foreground_map, realign
from threedzal.metrics.aupro import pro_curve
from threedzal.metrics.ranking import area, auroc, rank, sorted_scores
from threedzal.mixture import mix
from threedzal.plus import ThreeDZALPlus
from threedzal.pooling import POOLINGS, excess, pool

FPFH = ("fpfh",)
RAW_ALIKE, FPFH_ALIKE = (*RAW, *PICTURE[1:]), (*FPFH, *SURFACE[1:])  # beside how alone a patch is
SURFACES = (FPFH, FPFH_ALIKE)
SCORE = (PICTURE, RAW_ALIKE, RAW_ALIKE, *SURFACES)  # here what is alike counts twice; the package learns two
DEFAULT = Row(score_experts=SCORE, products=True)
BASE = Row(mixture="equal")  # what single parts of two experts are worth is measured without products
CLOUD, WIDE = ("point_cloud",), ("wide_point_cloud",)
BY_CLASS = ("ThreeDZALPlus", "equal weights", "score of two experts", "all in the maps", "floor")
PLACES = ("pseudo", "built-in", "fresh", "last", "real")
UNTOLD = ("top", "outlier", "tail")  # poolings that are measured and not in the tables
ROWS = {
    "ThreeDZALPlus": DEFAULT,
    "equal weights": replace(DEFAULT, mixture="equal"),
    "six experts": replace(DEFAULT, score_experts=SCORE[1:]),
    "six experts, equal weights": replace(DEFAULT, score_experts=SCORE[1:], mixture="equal"),
    "five experts": replace(DEFAULT, score_experts=SCORE[2:]),
    "score without raw features": replace(DEFAULT, score_experts=(PICTURE, *SURFACES)),
    "score without FPFH": replace(DEFAULT, score_experts=SCORE[:3]),
    "score of two experts": replace(DEFAULT, score_experts=()),
    "all in the maps": replace(DEFAULT, experts=(PICTURE, SURFACE, *SCORE), score_experts=()),
    "without products": replace(DEFAULT, products=False),
    "two experts alone": BASE,
    "all four in the maps": replace(BASE, experts=(PICTURE, SURFACE, RAW, FPFH)),
    "FPFH in the maps": replace(BASE, experts=(PICTURE, SURFACE, FPFH)),
    "without fittings": replace(BASE, anomalies="shaded"),
    "picture expert alone": replace(BASE, experts=(PICTURE,)),
    "surface expert alone": replace(BASE, experts=(SURFACE,)),
    "one expert sees all": replace(BASE, experts=((*PICTURE, *SURFACE),)),
    "without symmetry": replace(BASE, experts=(PICTURE[:2], SURFACE[:2])),
    "without similarity": replace(BASE, experts=(PICTURE[::2], SURFACE[::2])),
    "without both": replace(BASE, experts=(PICTURE[:1], SURFACE[:1])),
    "with relief": replace(BASE, experts=((*PICTURE, "relief"), (*SURFACE, "relief"))),
    "surface expert sees FPFH, too": replace(BASE, experts=(PICTURE, (*SURFACE, "fpfh"))),
    "FPFH alone": replace(BASE, experts=(FPFH,)),
    "rgb features alone": replace(BASE, experts=(("rgb",),)),
    "rgb features alone, not normalised": replace(BASE, experts=(("raw",),)),
    "no variation of the scans": replace(BASE, anomalies="fitted, as they are"),
    "all normal patches alike": replace(BASE, hard=1.0),
    "adding only": replace(BASE, kinds=("adding",)),
    "removing only": replace(BASE, kinds=("removing",)),
    "placed by attention": replace(BASE, anomalies="fitted, attended"),
    "plain anomalies": replace(BASE, anomalies="fitted, plain"),
    "448, 28 x 28": replace(BASE, scale="448, 28 x 28"),
    "224, 28 x 28": replace(BASE, scale="224, 28 x 28"),
    "overlapping patches": replace(BASE, overlap=True),
    "blur 4": replace(BASE, blur=4.0),
    "map of probabilities, blur 4": replace(BASE, cells="probability", blur=4.0),
    "E_theta alone": replace(BASE, experts=(CLOUD,)),
    "E_theta alone, with L_con": replace(BASE, experts=(CLOUD,), w_con=1.0),
    "E_theta alone, wider": replace(BASE, experts=(WIDE,)),
    "E_theta alone, wider, with L_con": replace(BASE, experts=(WIDE,), w_con=1.0),
    "with E_theta": replace(BASE, experts=(PICTURE, SURFACE, CLOUD)),
    "with E_theta and L_con": replace(BASE, experts=(PICTURE, SURFACE, CLOUD), w_con=1.0),
    "with E_theta, wider": replace(BASE, experts=(PICTURE, SURFACE, WIDE)),
    "with E_theta, wider, and L_con": replace(BASE, experts=(PICTURE, SURFACE, WIDE), w_con=1.0),
}


@dataclass
class Judged:
    """Log-odds of a set of scans on one grid of patches: of one that is moved, the maps and scores add up."""

    log_odds: Tensor | None  # (B,P); None: the floor, a constant on the object
    score_odds: Tensor | None  # of all experts, those that have a say in the score alone among them
    scans: list[dict[str, Any]]
    shift: tuple[int, int] = (0, 0)

    def stacked(self, name: str) -> Tensor:
        return torch.stack([scan[name] for scan in self.scans])

    def maps(self, row: Row) -> Tensor:
        """(B,H,W)."""
        cells, size = self.stacked("cells"), tuple(self.scans[0]["mask"].shape)
        if self.log_odds is None:
            return foreground_map(cells, size=size, sigma=row.blur)
        probability = self.log_odds.sigmoid() * cells
        values = excess(probability, cells) if row.cells == "excess" else probability
        return realign(values, size=size, sigma=row.blur).roll(self.shift, dims=(-2, -1))

    def scores(self, how: str) -> Tensor:
        """(B,)"""
        cells = self.stacked("cells")
        if self.score_odds is None:
            return torch.zeros(len(cells))
        return pool(self.score_odds.sigmoid() * cells, cells, how=how)


def judge_maps(grids: list[Judged], row: Row) -> dict[str, float]:
    """Metrics of the mean over grids."""
    mask, object = grids[0].stacked("mask"), grids[0].stacked("object")
    maps = torch.stack([grid.maps(row) for grid in grids]).mean(0)
    whole, own = pro_curve(maps, mask), pro_curve(maps, mask, roi=object)
    return {
        "AUPRO 0.3": float(area(*whole, limit=0.3)),
        "AUPRO 0.05": float(area(*whole, limit=0.05)),
        "object-only 0.3": float(area(*own, limit=0.3)),
    }


def judge_scores(grids: list[Judged]) -> dict[str, float]:
    """Image AUROC by each pooling, of the mean over grids."""
    metrics, defective = {}, grids[0].stacked("mask").flatten(1).any(dim=1)
    for how in POOLINGS:
        score = torch.stack([grid.scores(how) for grid in grids]).mean(0)
        metrics[f"image, {how}"] = float(auroc(rank(sorted_scores(score[~defective]), score[defective])))
    return metrics


def judged(maker: Maker, row: Row, test: str, odds: list[dict[str, Tensor]]) -> list[Judged]:
    """What a row's experts say of a test, on one grid of patches or on all that are moved, as `ThreeDZALPlus` does."""
    grids = []
    for shift in SHIFTS if row.overlap else SHIFTS[:1]:
        moved = f"{test}@{shift[0]},{shift[1]}" if any(shift) else test
        scans = maker.judged(moved, row.scale)
        cells = torch.stack([scan["cells"] for scan in scans])
        each = torch.stack([of[moved] for of in odds], dim=1)
        of_all = mix(each, cells) if row.mixture == "calm" else each.mean(dim=1)
        grids.append(Judged(each[:, : len(row.experts)].mean(dim=1), of_all, scans, shift))
    return grids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="pretrained")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--real", type=Path, default=os.environ.get("SAMPLE_ROOT"))
    parser.add_argument("--fresh", type=Path, help="another generated data set; its test scans")
    parser.add_argument("--last", type=Path, help="one more, for a look afterwards; it may have some classes only")
    parser.add_argument("--products", type=Path, help="a generated data set; its random products")
    parser.add_argument(
        "--cache", type=Path, default=Path("results/beyond"), help="of one data set, --fresh, --last and --products"
    )
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.5, help="of the views")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), metavar="ROW", help="all that there is data for")
    parser.add_argument("--where", nargs="+", choices=PLACES, metavar="WHERE", help="all that there are scans of")
    parser.add_argument("--results", default="results", help="name of the file of all figures, in the cache")
    options = parser.parse_args()
    method = ThreeDZALPlus(backbone=options.backbone, rgb_weights=options.weights).eval()
    method.load_pretrained()
    real = Path(options.real) if options.real else None
    roots = {"real": real, "fresh": options.fresh, "last": options.last, "products": options.products}
    maker = Maker(options.data, options.cache, method.views, roots)
    places = [place for place in PLACES if maker.roots.get(place, True)]
    if missing := set(options.where or ()) - set(places):
        parser.error(f"--where has {', '.join(sorted(missing))}: give its scans with --{min(missing)}")
    wanted = options.rows or [name for name, row in ROWS.items() if options.products or not row.products]
    if asked := [name for name in wanted if ROWS[name].products and not options.products]:
        parser.error(f"--rows has {', '.join(asked)}: give the random products that it learns from with --products")
    experts = Experts(maker, options.folds, options.epochs, options.dropout, tuple(options.where or places))
    store = options.cache / f"{options.results}-{options.folds}.json"
    results, maps = json.loads(store.read_text()) if store.is_file() else {}, {}
    for name in wanted:
        row = ROWS[name]
        for seed in map(int, options.seeds.split(",")):
            odds = [experts.log_odds(names, row, seed) for names in (*row.experts, *row.score_experts)]
            for test in (test for test in odds[0] if "@" not in test):
                key, floor = f"{name}|{seed}|{test}", f"floor|0|{test}"
                if key not in results:
                    grids = judged(maker, row, test, odds)
                    alike = replace(row, score_experts=(), mixture="equal"), seed, test  # rows of the same maps
                    maps[alike] = maps.get(alike) or judge_maps(grids, row)
                    results[key] = maps[alike] | judge_scores(grids)
                    none = [Judged(None, None, grids[0].scans)]
                    results[floor] = results.get(floor) or judge_maps(none, row) | judge_scores(none)
            store.write_text(json.dumps(results, indent=1))
    print(tables(results))


def tables(results: dict[str, dict[str, float]]) -> str:
    """Markdown: rows by set, mean over classes, then mean and spread (standard deviation) over seeds; each class."""
    lines = []
    for where in PLACES:
        values: dict[str, dict[int, list[dict[str, float]]]] = {}
        for key, metrics in results.items():
            row, seed, place = key.split("|", 2)
            if place.split("|")[0] == where:
                values.setdefault(row, {}).setdefault(int(seed), []).append(metrics)
        if not values:
            continue
        first = next(iter(next(iter(values.values())).values()))[0]
        columns = [column for column in first if column.removeprefix("image, ") not in UNTOLD]
        lines += ["", f"**{where}**", "", f"| classifier | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
        for row, seeds in sorted(values.items(), key=lambda item: ["floor", *ROWS].index(item[0])):
            cells = []
            for column in columns:
                means = [statistics.fmean(m[column] for m in classes) for classes in seeds.values()]
                spread = f" ± {statistics.stdev(means):.3f}" if len(means) > 1 else ""
                cells.append(f"{statistics.fmean(means):.3f}{spread}")
            lines.append(f"| {row} ({len(seeds)}) | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *by_class(results)])


def by_class(results: dict[str, dict[str, float]]) -> list[str]:
    """Object-only AUPRO and image AUROC of the rows of `BY_CLASS` on each class, means over seeds."""
    lines = []
    for place in ("built-in", "fresh", "last"):
        tests = sorted({key.split("|", 2)[2] for key in results if f"|{place}|" in key})
        rows = [row for row in BY_CLASS if any(key.startswith(f"{row}|") and f"|{place}|" in key for key in results)]
        if tests:
            lines += ["", f"| {place}, class | {' | '.join(rows)} |", f"|---|{'---|' * len(rows)}"]
        for test in tests:
            cells = [test.split("|")[1]]
            for row in rows:
                found = [v for key, v in results.items() if key.split("|")[0] == row and key.endswith(f"|{test}")]
                means = [statistics.fmean(v[m] for v in found) for m in ("object-only 0.3", "image, peaks")]
                cells.append(f"{means[0]:.3f} / {means[1]:.3f}")
            lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
