"""All that the test table says of one class, from maps and scores given scan by scan (method section 6)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from threedzal.metrics.aupro import rank_regions, region_sizes
from threedzal.metrics.ranking import area, auroc, average_precision, best_f1, curve, rank, select, sorted_scores

GOOD = "good"
OBJECT, ELSEWHERE = -1.0, 0.0  # codes of defect-free pixels in the state `region`; defective ones hold a region's size
Curve = tuple[Tensor, Tensor]


class ScanMetrics(Metric):
    """Localisation and detection metrics of several scores at once, for one class, exact.

    `compute` gives 0-d float32 tensors under these keys, for every score NAME that was given (such as `fused`):

    - `NAME/aupro_0.3`, `NAME/aupro_0.05`, ...: one for each of `limits`;
    - `NAME/object_aupro_0.3`, ...: false positives counted on object pixels only, one for each of `object_limits`;
    - `NAME/pixel_auroc`, `NAME/pixel_ap`: over all pixels;
    - `NAME/image_auroc`, `NAME/image_ap`, `NAME/best_f1`: over scans;
    - `NAME/defect/KIND/...`: the same for the scans of one defect kind together with the good ones.

    A metric that is not defined (no defective or no defect-free pixel or scan) is NaN. In several processes each scan
    must be given once, to any of them; a process may have none.

    Args:
        defects: names of the defect kinds that may come, the same in every process; `good` need not be among them.
        names: names of the scores that may come. One that never comes is left out of the results.
        limits, object_limits: integration limits of AUPRO and of object-only AUPRO.
    """

    full_state_update = False

    def __init__(
        self,
        defects: Sequence[str],
        *,
        names: Sequence[str] = ("fused", "distance", "classification", "foreground"),
        limits: Sequence[float] = (0.3, 0.05, 0.01),
        object_limits: Sequence[float] = (0.3, 0.05),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kinds = [GOOD, *sorted(set(defects) - {GOOD})]
        self.names, self.limits, self.object_limits = tuple(names), tuple(limits), tuple(object_limits)
        self._curves: dict[str, Curve] = {}
        # Flat float32 lists only: torchmetrics makes up for a process without any by an empty 1-D float32 tensor.
        # Of a pixel: `map_NAME`, `region`. Of a scan: `score_NAME`, `kind`, `label`, `pixels` (how many it has).
        for state in ("region", "kind", "label", "pixels", *(f"{of}_{n}" for n in names for of in ("map", "score"))):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(
        self,
        maps: dict[str, Tensor],
        scores: dict[str, Tensor],
        *,
        mask: Tensor,
        object: Tensor,
        label: Tensor,
        defects: Sequence[str],
    ) -> None:
        """Add B scans.

        Args:
            maps: (B, H, W) floating point by name, the same names every time.
            scores: (B,) by name; a map without a score is given a constant one.
            mask: (B, H, W), non-zero where defective. object: (B, H, W) bool, the object's pixels.
            label: (B,), non-zero for a defective scan. defects: B names of defect kinds, `good` for none.

        Raises:
            ValueError: unknown or changing names, shapes that differ, NaN.
        """
        self._validate(maps, scores, mask, object, label, defects)
        sizes = region_sizes(mask)
        normal = torch.where(object.bool(), OBJECT, ELSEWHERE).to(sizes)
        self.region.append(torch.where(sizes > 0, sizes, normal).flatten())
        self.kind.append(sizes.new_tensor([self.kinds.index(kind) for kind in defects]))
        self.label.append(label.ne(0).float())
        self.pixels.append(sizes.new_full((len(mask),), float(mask[0].numel())) if len(mask) else sizes.new_zeros(0))
        for name, values in maps.items():
            getattr(self, f"map_{name}").append(values.float().flatten())
            score = scores.get(name, torch.zeros_like(self.label[-1]))
            getattr(self, f"score_{name}").append(score.float())

    def compute(self) -> dict[str, Tensor]:
        """Metrics by key; see the class."""
        region, kind, label = self._state("region"), self._state("kind"), self._state("label") > 0
        kind_of_pixel = kind.repeat_interleave(self._state("pixels").long())
        codes = [code for code in range(len(self.kinds)) if (kind == code).any()]
        pixels = {code: kind_of_pixel == code for code in codes}
        regions = {code: select(region, pixels[code]) for code in codes}
        results: dict[str, Tensor] = {}
        self._curves = {}
        for name in self.names:
            values, scores = self._state(f"map_{name}"), self._state(f"score_{name}")
            if len(scores) == 0:
                continue
            parts = {code: _Pixels.of(select(values, pixels[code]), regions[code]) for code in codes}
            every = self._localisation(list(parts.values()), name) | self._detection(scores, label, name)
            results |= {f"{name}/{key}": value for key, value in every.items()}
            for code in codes:
                if code == 0:
                    continue
                scans = (kind == code) | (kind == 0)
                one = self._localisation([parts[c] for c in (0, code) if c in parts])
                one |= self._detection(scores[scans], label[scans])
                results |= {f"{name}/defect/{self.kinds[code]}/{key}": value for key, value in one.items()}
        return {key: value.float() for key, value in results.items()}

    def curves(self, *, points: int = 500) -> dict[str, Curve]:
        """Curves to draw, each (x, y), float64, on the CPU: all processes must call it (it computes if need be).

        Returns:
            `pro`, `object_pro` and `roc` of the first of `names` (false-positive rate against overlap or true-positive
            rate) and, where `foreground` came, its `floor_pro` and `floor_object_pro`. Of a curve with more than
            `points` corners, that many.
        """
        self.compute()
        return {key: _thinned(*corners, points) for key, corners in self._curves.items()}

    def _localisation(self, parts: Sequence["_Pixels"], name: str = "") -> dict[str, Tensor]:
        """Pixel metrics of some parts together; the curves of `name` are kept for `curves`."""
        defective, sizes = (torch.cat([getattr(part, of) for part in parts]) for of in ("defective", "sizes"))
        on_object = [part.on_object for part in parts]
        everywhere = on_object + [part.elsewhere for part in parts]
        pro = curve(rank_regions(everywhere, defective, sizes))
        object_pro = curve(rank_regions(on_object, defective, sizes))
        self._keep(name, pro=pro, object_pro=object_pro)
        plain = rank(everywhere, defective)
        return {
            **{f"aupro_{limit:g}": area(*pro, limit=limit) for limit in self.limits},
            **{f"object_aupro_{limit:g}": area(*object_pro, limit=limit) for limit in self.object_limits},
            "pixel_auroc": auroc(plain),
            "pixel_ap": average_precision(plain),
        }

    def _detection(self, scores: Tensor, defective: Tensor, name: str = "") -> dict[str, Tensor]:
        """Scan metrics of scores (n,); the ROC curve of `name` is kept for `curves`."""
        ranking = rank(sorted_scores(scores[~defective]), scores[defective])
        self._keep(name, roc=curve(ranking))
        return {"image_auroc": auroc(ranking), "image_ap": average_precision(ranking), "best_f1": best_f1(ranking)}

    def _keep(self, name: str, **curves: Curve) -> None:
        if name == self.names[0]:
            self._curves |= curves
        elif name == "foreground":
            self._curves |= {f"floor_{key}": corners for key, corners in curves.items() if key != "roc"}

    def _state(self, name: str) -> Tensor:
        """A state as one flat tensor: it is a list before, and a tensor after, processes have been brought together."""
        state = getattr(self, name)
        return dim_zero_cat(state) if len(state) else torch.zeros(0, device=self.device)

    def _validate(self, maps, scores, mask, object, label, defects) -> None:
        for sentence in self._complaints(maps, scores, mask, object, label, defects):
            raise ValueError(f"ScanMetrics: {sentence}")

    def _complaints(self, maps, scores, mask, object, label, defects) -> Iterator[str]:
        before = [name for name in self.names if len(getattr(self, f"map_{name}"))]
        if not set(scores) <= set(maps) <= set(self.names) or (before and set(before) != set(maps)):
            wanted = before or list(self.names)
            yield f"got maps of {sorted(maps)} and scores of {sorted(scores)}; wanted {wanted}, the same every time."
        if unknown := sorted(set(defects) - set(self.kinds)):
            yield f"got defect kinds {unknown}; wanted some of {self.kinds}."
        shapes = {tuple(t.shape) for t in (mask, object, *maps.values())}
        if mask.ndim != 3 or len(shapes) != 1:
            yield f"got maps, mask and object of shapes {sorted(shapes)}; wanted one shape (B, H, W)."
        lengths = {len(mask), len(label), len(defects), *(t.numel() for t in scores.values())}
        if len(lengths) != 1:
            yield f"got {sorted(lengths)} maps, scores, labels and defect names; wanted as many of each."
        if any(t.isnan().any() for t in (*maps.values(), *scores.values())):
            yield "the maps or scores hold NaN; scores must be numbers."


@dataclass(frozen=True)
class _Pixels:
    """The flat scores of one defect kind's scans, the defect-free ones sorted once for every table they enter."""

    on_object: Tensor  # ascending
    elsewhere: Tensor  # ascending
    defective: Tensor
    sizes: Tensor  # of the region of each defective pixel

    @classmethod
    def of(cls, values: Tensor, region: Tensor) -> "_Pixels":
        on_object, elsewhere = (
            sorted_scores(select(values, region == code), overwrite=True) for code in (OBJECT, ELSEWHERE)
        )
        return cls(on_object, elsewhere, select(values, region > 0), select(region, region > 0))


def _thinned(x: Tensor, y: Tensor, points: int) -> Curve:
    """At most `points` corners of a curve, evenly drawn, both ends among them."""
    if len(x) <= points:
        return x.cpu(), y.cpu()
    kept = torch.linspace(0, len(x) - 1, points, dtype=torch.float64).round().long().to(x.device)
    return x[kept].cpu(), y[kept].cpu()
