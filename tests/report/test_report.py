"""The report, read back with Python's own HTML parser and with Pillow."""

import csv
import json
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from threedzal.errors import UserError
from threedzal.report import ReportData, ScanOutcome, ScanPanel, panel_png, pixel_overlap, worst_first, write_report

SIZE = (24, 32)
CLASSES = ("tube", "disc")
METRICS = {
    row: {name: {"aupro_0.3": 0.1 * i + 0.05 * j, "image_auroc": 0.5 + 0.01 * i} for j, name in enumerate(CLASSES)}
    for i, row in enumerate(("fused", "distance", "classification", "foreground"))
}


def panel(key: str, *, score: float, verdict: int | None, hit: bool = True, parts: bool = False) -> ScanPanel:
    gt, values = np.zeros(SIZE, bool), np.random.default_rng(0).random(SIZE).astype(np.float32)
    label = int("/good/" not in key)
    if label:
        gt[4:8, 4:9] = True
        values[gt] = 2.0 if hit else 0.0
    depth = np.full(SIZE, 0.6)
    depth[:3] = np.nan
    rgb = np.full((*SIZE, 3), 120, np.uint8)
    extra = {"distance_map": values, "classifier_map": values} if parts else {}
    return ScanPanel(
        key=key, label=label, score=score, verdict=verdict, rgb=rgb, depth=depth, gt=gt, map=values, **extra
    )


PANELS = [
    panel("tube/test/good/000", score=0.2, verdict=0),
    panel("tube/test/good/001", score=0.6, verdict=1),
    panel("tube/test/cut/000", score=0.1, verdict=0),
    panel("tube/test/cut/001", score=0.9, verdict=1),
    panel("tube/test/cut/002", score=0.8, verdict=1, hit=False),
]
WORST_FIRST = ["cut/000", "good/001", "cut/002", "cut/001", "good/000"]


def report_data(**changes) -> ReportData:
    steps = np.arange(100)
    line = np.linspace(0, 1, 5000)
    values = {
        "title": "Tubes & <discs>",
        "command": "threedzal test --data.root 'a<b'",
        "config": "w_con: 1",
        "facts": {"Trained on": "cone"},
        "metrics": METRICS,
        "defects": {"tube": {"cut": {"aupro_0.3": 0.25}, "hole": {"aupro_0.3": float("nan")}}},
        "pro_curves": dict.fromkeys(CLASSES, (line * 0.3, line)),
        "floor_pro_curves": {"tube": (line * 0.3, line**2)},
        "roc_curves": {"tube": (line, line**0.5)},
        "training": {"train/loss": (steps, 1 / (1 + steps)), "val/loss": (steps[::50], [0.5, 0.4]), "lr": ([0], [1.0])},
        "panels": PANELS,
        "threshold": 0.5,
    }
    return ReportData(**values | changes)


class Page(HTMLParser):
    """Collects pictures, figures by row, headings, and all addresses of a page; checks that tags are closed."""

    VOID = {"meta", "img", "link", "source", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images, self.addresses, self.values, self.headings, self.open, self.text = [], [], [], [], [], ""
        self.classes: list[str] = []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.addresses += [attrs[name] for name in ("src", "srcset", "href") if name in attrs]
        self.classes += (attrs.get("class") or "").split()
        if tag == "img":
            self.images.append((attrs["alt"], attrs["src"]))
        if tag == "data":
            self.values.append(float(attrs["value"]))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "report"
    return write_report(folder, report_data()).parent


@pytest.fixture(scope="module")
def read(written) -> Page:
    return Page((written / "index.html").read_text(encoding="utf-8"))


def test_the_page_has_every_section(read):
    assert read.headings == ["Metrics", "By defect kind", "Curves", "Scans", "Training", "How to reproduce it"]


def test_the_page_needs_nothing_but_itself(read, written):
    assert read.addresses
    assert all(address.startswith("data:") for address in read.addresses)
    text = (written / "index.html").read_text(encoding="utf-8")
    assert "url(" not in text
    assert "@import" not in text
    assert "<script" not in text


def test_every_picture_opens_at_its_size(read):
    sizes = [Image.open(BytesIO(b64decode(address.split(",", 1)[1]))).size for _, address in read.images]
    charts = 2 + 2  # PRO, ROC; loss of training and validation on one chart, lr
    assert len(sizes) == charts + 4 * len(PANELS)
    assert sizes.count((32, 24)) == 4 * len(PANELS)


def test_curves_come_for_light_and_dark(read):
    dark = [address for address in read.addresses if address.startswith("data:image/png")]
    assert len(dark) == 2 * 4
    assert len(set(dark)) == len(dark)


def test_shown_figures_are_those_given(read):
    given = [value for classes in METRICS.values() for metrics in classes.values() for value in metrics.values()]
    assert set(given) <= set(read.values)
    mean = (METRICS["fused"]["tube"]["aupro_0.3"] + METRICS["fused"]["disc"]["aupro_0.3"]) / 2
    assert mean in read.values
    assert 0.25 in read.values


def test_the_floor_is_in_the_table_and_what_does_not_beat_it_is_marked(read):
    assert read.text.count("foreground (floor)") == 3  # mean and two classes
    assert read.classes.count("below") == 3 * 3 * 2  # METRICS grow row by row, so that nothing beats the floor
    assert "Transductive: none in this run" in read.text


def test_transductive_figures_stand_under_their_own_heading(tmp_path):
    data = report_data(transductive={"MuSc": {"tube": {"aupro_0.3": 0.875}}}, panels=[], training={})
    page = Page(write_report(tmp_path, data).read_text(encoding="utf-8"))
    assert "none in this run" not in page.text
    assert page.text.index("Transductive") < page.text.index("MuSc")
    assert 0.875 in page.values


def test_text_of_the_user_is_escaped(written, read):
    text = (written / "index.html").read_text(encoding="utf-8")
    assert "<discs>" not in text
    assert "a<b" not in text
    assert "Tubes & <discs>" in read.text


def test_the_worst_mistakes_come_first(read):
    assert [p.key.removeprefix("tube/test/") for p in worst_first(PANELS[::-1], threshold=0.5)] == WORST_FIRST
    shown = [alt.removeprefix("map of tube/test/") for alt, _ in read.images if alt.startswith("map of ")]
    assert shown == WORST_FIRST


def test_the_cards_count_found_and_passed_scans(read):
    assert "defective scans found2 of 3" in read.text
    assert "good scans passed1 of 2" in read.text


def test_outcomes_count_where_only_some_scans_have_pictures(tmp_path):
    outcomes = [ScanOutcome(key=f"tube/test/cut/{i}", label=1, score=1.0, verdict=int(i > 2)) for i in range(10)]
    data = ReportData(title="t", panels=PANELS, outcomes=outcomes, threshold=0.5)
    page = Page(write_report(tmp_path, data, max_scans=3).read_text(encoding="utf-8"))
    assert "defective scans found7 of 10" in page.text
    assert "7 more scans are not shown" in page.text
    assert len(list((tmp_path / "scans").glob("*.png"))) == 3


@pytest.mark.parametrize(("hit", "overlap"), [(True, 1.0), (False, 0.0)])
def test_overlap_is_the_share_of_the_defect_under_the_highest_pixels(hit, overlap):
    assert pixel_overlap(panel("a/test/cut/0", score=1, verdict=1, hit=hit)) == overlap
    assert pixel_overlap(panel("a/test/good/0", score=1, verdict=1)) is None


def test_pngs_lie_beside_the_page(written):
    for stem in ("pro_curve", "roc_curve", "training_curves"):
        width, height = Image.open(written / f"{stem}.png").size
        assert width > height > 300
    names = sorted(path.name for path in (written / "scans").iterdir())
    assert names == sorted(f"{p.key.replace('/', '__')}.png" for p in PANELS)
    assert not list(written.rglob(".*"))


def test_metrics_are_read_back_from_json_and_csv(written):
    content = json.loads((written / "metrics.json").read_text())
    assert content["metrics"] == METRICS
    assert content["defects"]["tube"]["hole"]["aupro_0.3"] is None
    with open(written / "metrics.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = [row for row in rows if (row["method"], row["class"], row["metric"]) == ("distance", "disc", "aupro_0.3")]
    assert [float(row["value"]) for row in found] == [METRICS["distance"]["disc"]["aupro_0.3"]]
    assert len(rows) == 4 * 3 * 2 + 2


def test_names_and_numbers_of_any_kind_do_not_stop_the_page(tmp_path):
    curve = (np.array([0.0, 0.1, 0.3]), np.array([0.0, 0.5, 1.0]))
    data = ReportData(
        title="$title",
        facts={"Scans": 3},
        metrics={"fused": {"a$b$_{": {"new_metric": np.float32("nan")}}},
        pro_curves={"a$b$_{": curve},
        training={"train/$x^$": ([0, 1, 2], [np.nan, np.inf, 1.0])},
    )
    page = Page(write_report(tmp_path, data).read_text(encoding="utf-8"))
    assert "$title" in page.text
    assert "new metric" in page.text
    assert "–" in page.text


def test_a_report_of_nothing_is_a_page(tmp_path):
    page = Page(write_report(tmp_path, ReportData(title="empty")).read_text(encoding="utf-8"))
    assert page.headings == []
    assert "empty" in page.text


def test_a_strip_shows_all_maps_side_by_side():
    strip = panel_png(panel("a/test/cut/0", score=1, verdict=1, parts=True))
    assert strip.size == (6 * (32 + 8) + 8, 66 + 24 + 8)
    four = panel_png(panel("a/test/cut/0", score=1, verdict=1))
    assert four.size == (4 * (32 + 8) + 8, 66 + 24 + 8)
    picture = np.asarray(four)[66:-8, 8 : 8 + 32]
    assert (picture == 120).all()


def test_a_scan_without_a_picture_is_drawn_over_its_depth(tmp_path):
    bare = panel("a/test/cut/0", score=1, verdict=None)
    bare.rgb = None
    page = Page(write_report(tmp_path, ReportData(title="t", panels=[bare])).read_text(encoding="utf-8"))
    assert [alt.split(" of ")[0] for alt, _ in page.images] == ["depth", "ground truth", "map"]
    assert "not judged" in page.text


def test_a_report_cannot_be_written_into_a_file(tmp_path):
    (tmp_path / "report").write_text("taken")
    with pytest.raises(UserError, match="cannot write"):
        write_report(tmp_path / "report", ReportData(title="t"))


def test_no_global_state_of_the_plotting_library_is_touched(written):
    import sys

    assert "matplotlib.figure" in sys.modules
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
