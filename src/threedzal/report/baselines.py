"""Other runs beside this one: their figures, read from the `metrics.json` of their reports."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from threedzal.errors import UserError
from threedzal.figures import FLOOR
from threedzal.report.content import Table


def read_baselines(sources: Sequence[str], *, counts: Mapping[str, Mapping[str, int]]) -> Table:
    """`{name: {class: {metric: value}}}` of other runs, each by its main row, of the classes tested here.

    Args:
        sources: `PATH` or `NAME=PATH` of a `metrics.json`, or of a run's folder or report that holds one. Without a
            name the run's method is the name.
        counts: {class: {defect kind: scans}} of this run: a run on other scans is nothing to compare with.

    Raises:
        UserError: a file is not there, is no report's, or is of other scans.
    """
    rows: Table = {}
    for source in sources:
        name, _, path = ("", "", source) if Path(source).exists() else source.partition("=")
        name, path = (name, path) if path else ("", name)
        content = _read(Path(path))
        classes = content["metrics"].get(content["main"], {})
        shared = [c for c in counts if c in classes]
        if not shared:
            raise UserError(
                f"report.baselines: {path} is a test on {', '.join(classes) or 'nothing'}, but this one is on "
                f"{', '.join(counts)}: give a run on the same classes"
            )
        for c in shared:
            if content["scans"].get(c) != dict(counts[c]):
                raise UserError(
                    f"report.baselines: {path} was tested on other scans of {c} ({_sum(content['scans'].get(c))}) than "
                    f"this run is ({_sum(counts[c])}): give a run on the same scans"
                )
        title = _free(name or content["method"], rows, Path(path))
        rows[title] = {c: {k: v for k, v in classes[c].items() if v is not None} for c in shared}
    return rows


def _read(path: Path) -> dict:
    if path.is_dir():
        found = [p for p in (path / "metrics.json", path / "report" / "metrics.json") if p.is_file()]
        path = found[0] if found else path / "metrics.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"report.baselines: {path} cannot be read ({error.strerror}); wanted a metrics.json") from error
    except ValueError as error:
        raise UserError(f"report.baselines: {path} is no JSON file ({error})") from error
    wanted = {"method", "main", "metrics", "scans"}
    if not isinstance(content, dict) or not wanted <= set(content) or content["main"] in (None, FLOOR):
        raise UserError(f"report.baselines: {path} is not the metrics.json of a report of this version")
    return content


def _free(name: str, taken: Table, path: Path) -> str:
    """The name, or where another run has it, the name and the run's folder."""
    if name not in taken:
        return name
    folder = path if path.suffix == "" else path.parent
    folder = folder.parent if folder.name == "report" else folder
    return f"{name} ({folder.name})"


def _sum(kinds: Mapping[str, int] | None) -> str:
    return f"{sum((kinds or {}).values())} scans"
