"""The scans in pictures, the worst mistakes first: a slider between the picture and the map, and a view in 3D."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from threedzal.colour import OUTLINE, depth_picture, draw_outline, heat_layer, heat_overlay, map_limits, outline, scaled
from threedzal.files import atomic_path
from threedzal.report.content import ReportData, ScanPanel, pixel_overlap
from threedzal.report.html import badge
from threedzal.report.images import SIDE, mask_uri, strip, webp_uri
from threedzal.report.outcome_tables import scans_table
from threedzal.report.view3d import surface_text

MAPS = {"map": "fused", "distance_map": "distance", "classifier_map": "classifier"}
TRUTH_COLOUR = np.array((0, 190, 160), dtype=np.float32)
Limits = dict[str, tuple[float, float]]  # {name of the map: values of the first and the last colour}

NOTES = (
    "Drag the line from the picture to the map. Worst mistakes first: misjudged scans by how far their score is from "
    "the threshold, then defective scans by how little of the defect the map's highest pixels cover (of as many pixels "
    "as the defect has), then the good ones by score. The turquoise line is the true defect."
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
    tiles = {caption: picture for caption, picture in _bases(panel).items() if caption != "object"}
    tiles["ground truth"] = truth_picture(panel)
    maps = {caption: with_truth(panel, kind, limits) for kind, caption in MAPS.items()}
    return tiles | {caption: picture for caption, picture in maps.items() if picture is not None}


def with_truth(panel: ScanPanel, kind: str, limits: Limits) -> np.ndarray | None:
    """A map over what the scan looks like, the true defect outlined: (h,w,3) uint8; None where there is no such map."""
    values, base = getattr(panel, kind), _base(panel)
    return None if values is None else draw_outline(heat_overlay(np.asarray(values), base, limits[kind]), _truth(panel))


def truth_picture(panel: ScanPanel) -> np.ndarray:
    """The scan in greys, darkened, the true defect filled in and outlined: (h,w,3) uint8."""
    base, truth = _base(panel), _truth(panel)
    grey = np.repeat(base.mean(axis=2, keepdims=True) * 0.75, 3, axis=2)
    grey[truth] = 0.35 * grey[truth] + 0.65 * TRUTH_COLOUR
    return draw_outline(grey.round().astype(np.uint8), truth)


def panel_png(panel: ScanPanel, limits: Limits | None = None, *, side: int = 320):
    """The scan's tiles side by side with captions and the verdict, as a PIL image; also for loggers."""
    tiles = panel_tiles(panel, limits)
    return strip(tiles, f"{panel.key}   score {panel.score:.3f}   {panel.word}", side=side)


def gallery_section(data: ReportData, *, max_scans: int, folder: Path | None = None) -> str:
    """A card a scan, worst first, at most `max_scans`; with a folder, each scan's strip goes there as a PNG too."""
    panels = data.worst[:max_scans]
    if not panels:
        return ""
    limits = class_limits(panels)
    cards = "".join(_card(panel, limits[panel.class_name], data.threshold) for panel in panels)
    for panel in panels if folder else ():
        with atomic_path(folder / f"{panel.key.replace('/', '__')}.png") as part:  # level 1: five times faster
            panel_png(panel, limits[panel.class_name], side=256).save(part, compress_level=1)
    rest = len(data.judged) - len(panels)
    more = f" {rest} more scans are not shown." if rest > 0 else ""
    return (
        f'<section id="scans"><h2>Scans</h2><p class="note">{NOTES}{more}</p>{scans_table(data)}{_legend(limits)}'
        f'{_filters(panels)}<div class="scans">{cards}</div></section>'
    )


def _card(panel: ScanPanel, limits: Limits, threshold: float | None) -> str:
    key, truth = escape(panel.key), _truth(panel)
    name = key.replace("/", "/<wbr>")
    facts = [f'score <data value="{float(panel.score)!r}">{panel.score:.3f}</data>']
    if threshold is not None and panel.verdict is not None:
        facts.append(f"{'above' if panel.score >= threshold else 'below'} the threshold {threshold:.3f}")
    if (overlap := pixel_overlap(panel)) is not None:
        facts.append(f"covers {overlap:.0%} of the defect")
    bases = {name: webp_uri(picture) for name, picture in _bases(panel).items()}
    heats = {
        caption: webp_uri(heat_layer(np.asarray(getattr(panel, kind)), limits[kind]))
        for kind, caption in MAPS.items()
        if getattr(panel, kind) is not None
    }
    rim = mask_uri(_rim(truth), OUTLINE) if truth.any() else ""
    layers = _layers("base", bases, key) + f'<div class="cover">{_layers("heat", heats, key)}</div>'
    layers += f'<img class="rim" src="{rim}" alt="true defect of {key}">' if rim else ""
    buttons = _buttons("base", bases) + _buttons("heat", heats)
    buttons += '<button type="button" class="truth on" aria-pressed="true">defect</button>' if rim else ""
    surface = ""
    if panel.points is not None and (text := _surface(panel, limits["map"], truth)):
        surface = f'<script type="text/plain" class="surface">{text}</script>'
        buttons += '<button type="button" class="solid" aria-pressed="false">3D</button>'
    height, width = panel.map.shape
    return (
        f'<article class="scan" data-word="{panel.word}"><header>{badge(panel.word)}<b>{name}</b></header>'
        f'<p>{", ".join(facts)}</p><div class="view" style="aspect-ratio:{width}/{height}">{layers}'
        '<i class="line"></i><input type="range" min="0" max="100" step="0.5" value="50" '
        f'aria-label="from the picture to the map, {key}"></div><div class="pick">{buttons}</div>{surface}</article>'
    )


def _layers(kind: str, pictures: dict[str, str], key: str) -> str:
    return "".join(
        f'<img class="{kind}" data-name="{name}" src="{uri}" alt="{name} of {key}"{" hidden" if i else ""}>'
        for i, (name, uri) in enumerate(pictures.items())
    )


def _buttons(kind: str, pictures: dict[str, str]) -> str:
    if len(pictures) < 2:
        return ""
    return '<span class="choice">' + "".join(
        f'<button type="button" class="{kind}{"" if i else " on"}" data-name="{name}" '
        f'aria-pressed="{"false" if i else "true"}">{name}</button>'
        for i, name in enumerate(pictures)
    ) + "</span>"  # fmt: skip


def _filters(panels: Sequence[ScanPanel]) -> str:
    words = [panel.word for panel in panels]
    present = [word for word in ("missed", "false alarm", "found", "passed") if word in words]
    if len(present) < 2:
        return ""
    buttons = "".join(
        f'<button type="button" data-word="{word}" aria-pressed="false">{word} ({words.count(word)})</button>'
        for word in present
    )
    return (
        '<div class="filters pick"><button type="button" data-word="" class="on" aria-pressed="true">'
        f"all ({len(words)})</button>{buttons}</div>"
    )


def _surface(panel: ScanPanel, limits: tuple[float, float], truth: np.ndarray) -> str:
    share = scaled(np.asarray(panel.map), limits)
    return surface_text(np.asarray(panel.points), share, panel.rgb, outline(truth))


def _bases(panel: ScanPanel) -> dict[str, np.ndarray]:
    """{name: (h,w,3) uint8}: what the scan looks like, in colours and as depth; a plain grey where neither is there."""
    bases = {}
    if panel.rgb is not None:
        bases["picture"] = np.asarray(panel.rgb, dtype=np.uint8)
    if panel.depth is not None:
        bases["depth"] = depth_picture(np.asarray(panel.depth))
    return bases or {"object": np.full((*panel.map.shape, 3), 40, np.uint8)}


def _base(panel: ScanPanel) -> np.ndarray:
    """The first of `_bases`."""
    return np.asarray(panel.rgb, dtype=np.uint8) if panel.rgb is not None else next(iter(_bases(panel).values()))


def _truth(panel: ScanPanel) -> np.ndarray:
    return np.zeros(panel.map.shape, bool) if panel.gt is None else np.asarray(panel.gt, bool)


def _rim(truth: np.ndarray) -> np.ndarray:
    """The defect's outline, thick enough to be seen when the picture is shrunk for the page."""
    return outline(truth, thickness=max(1, round(1.6 * max(truth.shape) / SIDE)))


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
