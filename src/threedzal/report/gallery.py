"""The scans in pictures: RGB, depth, ground truth and maps, the worst mistakes first."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from threedzal.colour import depth_picture, draw_outline, heat_overlay, map_limits
from threedzal.files import atomic_path
from threedzal.report.content import ReportData, ScanPanel, pixel_overlap, worst_first
from threedzal.report.images import jpeg_uri, strip

MAPS = {"map": "map", "distance_map": "distance", "classifier_map": "classifier"}
TRUTH_COLOUR = np.array((0, 190, 160), dtype=np.float32)
Limits = dict[str, tuple[float, float]]  # {name of the map: values of the first and the last colour}

NOTES = (
    "Worst mistakes first: misjudged scans by how far their score is from the threshold, then defective scans by how "
    "little of the defect the map's highest pixels cover (of as many pixels as the defect has), then the good ones by "
    "score. The turquoise line is the true defect."
)


def class_limits(panels: Sequence[ScanPanel]) -> dict[str, Limits]:
    """{class: limits of each kind of map}, one colour scale for all scans of a class (`map_limits`)."""
    limits: dict[str, Limits] = {}
    for name in dict.fromkeys(panel.class_name for panel in panels):
        mine = [panel for panel in panels if panel.class_name == name]
        maps = {kind: [getattr(p, kind) for p in mine if getattr(p, kind) is not None] for kind in MAPS}
        limits[name] = {kind: map_limits(values) for kind, values in maps.items() if values}
    return limits


def panel_tiles(panel: ScanPanel, limits: Limits | None = None) -> dict[str, np.ndarray]:
    """{caption: (h,w,3) uint8}: picture, depth, ground truth, map, and the map's two parts where they are there.

    Limits are those of the class (`class_limits`); where None, of this scan alone.
    """
    limits = limits or class_limits([panel])[panel.class_name]
    truth = np.zeros(panel.map.shape, bool) if panel.gt is None else np.asarray(panel.gt, bool)
    tiles = {}
    if panel.rgb is not None:
        tiles["picture"] = np.asarray(panel.rgb, dtype=np.uint8)
    if panel.depth is not None:
        tiles["depth"] = depth_picture(np.asarray(panel.depth))
    base = next(iter(tiles.values()), np.full((*panel.map.shape, 3), 40, np.uint8))
    tiles["ground truth"] = _truth_picture(base, truth)
    for kind, caption in MAPS.items():
        values = getattr(panel, kind)
        if values is not None:
            tiles[caption] = draw_outline(heat_overlay(np.asarray(values), base, limits[kind]), truth)
    return tiles


def panel_png(panel: ScanPanel, limits: Limits | None = None, *, side: int = 320):
    """The scan's tiles side by side with captions and the verdict, as a PIL image; also for loggers."""
    return _strip(panel, panel_tiles(panel, limits), side=side)


def gallery_section(data: ReportData, *, max_scans: int, folder: Path | None = None) -> str:
    """A card a scan, worst first, at most `max_scans`; with a folder, each scan's strip goes there as a PNG too."""
    panels = worst_first(data.panels, threshold=data.threshold)[:max_scans]
    if not panels:
        return ""
    limits, cards = class_limits(panels), ""
    for panel in panels:
        tiles = panel_tiles(panel, limits[panel.class_name])
        cards += _card(panel, tiles, data.threshold)
        if folder:
            with atomic_path(folder / f"{panel.key.replace('/', '__')}.png") as part:
                _strip(panel, tiles, side=256).save(
                    part, compress_level=1
                )  # five times faster than the default, a third larger
    rest = len(data.judged) - len(panels)
    more = f" {rest} more scans are not shown." if rest > 0 else ""
    return (
        f'<section><h2>Scans</h2><p class="note">{NOTES}{more}</p>{_legend(limits)}'
        f'<div class="scans">{cards}</div></section>'
    )


def _card(panel: ScanPanel, tiles: dict[str, np.ndarray], threshold: float | None) -> str:
    figures = "".join(
        f'<figure><img src="{jpeg_uri(picture)}" alt="{escape(caption)} of {escape(panel.key)}">'
        f"<figcaption>{caption}</figcaption></figure>"
        for caption, picture in tiles.items()
    )
    mood = "bad" if panel.misjudged else "good" if panel.verdict is not None else ""
    facts = [f'score <data value="{float(panel.score)!r}">{panel.score:.3f}</data>']
    if threshold is not None and panel.verdict is not None:
        facts.append(f"{'above' if panel.score >= threshold else 'below'} the threshold {threshold:.3f}")
    if (overlap := pixel_overlap(panel)) is not None:
        facts.append(f"covers {overlap:.0%} of the defect")
    return (
        f'<article class="scan"><header><span class="badge {mood}">{panel.word}</span>'
        f"<b>{escape(panel.key)}</b></header><p>{', '.join(facts)}</p>"
        f'<div class="tiles">{figures}</div></article>'
    )


def _strip(panel: ScanPanel, tiles: dict[str, np.ndarray], *, side: int = 320):
    return strip(tiles, f"{panel.key}   score {panel.score:.3f}   {panel.word}", side=side)


def _legend(limits: dict[str, Limits]) -> str:
    """The colour bar, and for each class which values its two ends are."""
    lines = "".join(
        f"<li><b>{escape(name)}</b> "
        + ", ".join(f"{MAPS[kind]} {low:.3g} to {high:.3g}" for kind, (low, high) in ranges.items())
        + "</li>"
        for name, ranges in limits.items()
    )
    return (
        '<div class="legend"><div class="bar"></div><p>One colour scale a class, over the scans shown: from '
        "the median of its maps' values to the 95th percentile of its maps' maxima.</p>"
        f"<ul>{lines}</ul></div>"
    )


def _truth_picture(base: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The picture in greys, darkened, the true defect filled in and outlined."""
    grey = np.repeat(base.mean(axis=2, keepdims=True) * 0.75, 3, axis=2)
    grey[truth] = 0.35 * grey[truth] + 0.65 * TRUTH_COLOUR
    return draw_outline(grey.round().astype(np.uint8), truth)
