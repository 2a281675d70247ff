"""The page and the files beside it, read back with Python's own HTML parser and with Pillow."""

import csv
import json
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from threedzal.errors import UserError
from threedzal.report import ReportData, ScanOutcome, panel_png, pixel_overlap, worst_first, write_report

WORST_FIRST = ["cut/000", "good/001", "cut/002", "cut/001", "good/000"]


class Page(HTMLParser):
    """Collects pictures, figures by row, headings, and all addresses of a page; checks that tags are closed."""

    VOID = {"meta", "img", "link", "source", "br", "input", "wbr"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images, self.addresses, self.values, self.headings, self.open, self.text = [], [], [], [], [], ""
        self.classes: list[str] = []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.addresses += [value for name, value in attrs.items() if name.split(":")[-1] in ("src", "srcset", "href")]
        self.classes += (attrs.get("class") or "").split()
        if tag == "img":
            self.images.append((attrs["alt"], attrs["src"]))
        if tag == "data":
            self.values.append(float(attrs["value"]))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture(scope="module")
def written(report, tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("run") / "report", report()).parent


@pytest.fixture(scope="module")
def text(written) -> str:
    return (written / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def read(text) -> Page:
    return Page(text)


def read_page(folder, data: ReportData, **options) -> Page:
    return Page(write_report(folder, data, **options).read_text(encoding="utf-8"))


def test_the_page_has_every_section(read):
    assert read.headings == [
        "Metrics",
        "Verdicts at the threshold",
        "By defect kind",
        "Curves",
        "Scores",
        "Scans",
        "Training",
        "Time and memory",
        "How to reproduce it",
    ]


def test_the_page_needs_nothing_but_itself(read, text):
    assert read.addresses
    assert all(address.startswith(("data:", "#")) for address in read.addresses)
    assert "default-src 'none'" in text
    assert "@import" not in text


def test_every_picture_opens_at_its_size(read):
    sizes = [Image.open(BytesIO(b64decode(address.split(",", 1)[1]))).size for _, address in read.images]
    assert sizes == [(32, 24)] * (3 * 5 + 3)  # picture, depth and map of five scans, the outline of three defects


def test_curves_take_their_inks_from_the_page(text):
    charts = text.count("<svg ")
    assert charts == 2 + 1 + 2  # PRO, ROC; scores; loss of training and validation on one chart, lr
    assert text.count("var(--ink)") > charts
    assert "#010203" not in text


def test_shown_figures_are_those_given(read, report):
    data = report()
    given = [value for classes in data.metrics.values() for metrics in classes.values() for value in metrics.values()]
    assert set(given) <= set(read.values)
    mean = (data.metrics["fused"]["tube"]["aupro_0.3"] + data.metrics["fused"]["disc"]["aupro_0.3"]) / 2
    assert {mean, 0.25, 0.3125} <= set(read.values)


def test_the_floor_is_in_the_table_and_what_does_not_beat_it_is_marked(read):
    assert read.text.count("foreground (floor)") == 3  # mean and two classes
    assert read.classes.count("below") == 3 * 3 * 2  # METRICS grow row by row, so that nothing beats the floor


def test_baselines_stand_in_the_groups_of_their_classes(read):
    assert read.text.count("BTF") == 1  # of two classes it was tested on one: its mean is none to compare with
    assert read.classes.count("baseline") == 1


def test_transductive_figures_stand_under_their_own_heading(report, tmp_path):
    data = report(transductive={"MuSc": {"tube": {"aupro_0.3": 0.875}}}, panels=[], training={})
    page = read_page(tmp_path, data)
    assert page.text.index("Transductive") < page.text.index("MuSc")
    assert 0.875 in page.values


def test_text_of_the_user_is_escaped(text, read):
    assert "<discs>" not in text
    assert "a<b" not in text
    assert "Tubes & <discs>" in read.text


def test_the_worst_mistakes_come_first(read, panels):
    order = [p.key.removeprefix("tube/test/") for p in worst_first(panels()[::-1], threshold=0.5)]
    assert order == WORST_FIRST
    shown = [alt.removeprefix("fused of tube/test/") for alt, _ in read.images if alt.startswith("fused of ")]
    assert shown == WORST_FIRST


def test_the_cards_and_the_confusion_count_found_and_passed_scans(read):
    assert "defective scans found2 of 3" in read.text
    assert "good scans passed1 of 2" in read.text
    assert "tube2111" in read.text  # found, missed, passed, false alarm


def test_outcomes_count_where_only_some_scans_have_pictures(report, panels, tmp_path):
    outcomes = [ScanOutcome(key=f"tube/test/cut/{i}", label=1, score=1.0, verdict=int(i > 2)) for i in range(10)]
    data = ReportData(title="t", panels=panels(), outcomes=outcomes, threshold=0.5)
    page = read_page(tmp_path, data, max_scans=3)
    assert "defective scans found7 of 10" in page.text
    assert "7 more scans are not shown" in page.text
    assert len(list((tmp_path / "scans").glob("*.png"))) == 3


@pytest.mark.parametrize(("hit", "overlap"), [(True, 1.0), (False, 0.0)])
def test_overlap_is_the_share_of_the_defect_under_the_highest_pixels(panel, hit, overlap):
    assert pixel_overlap(panel("a/test/cut/0", score=1, verdict=1, hit=hit)) == overlap
    assert pixel_overlap(panel("a/test/good/0", score=1, verdict=1)) is None


def test_pngs_lie_beside_the_page(written, panels):
    for stem in ("pro_curve", "roc_curve", "scores", "training_curves"):
        width, height = Image.open(written / f"{stem}.png").size
        assert width > height > 300
    names = sorted(path.name for path in (written / "scans").iterdir())
    assert names == sorted(f"{p.key.replace('/', '__')}.png" for p in panels())
    assert not list(written.rglob(".*"))


def test_figures_are_read_back_from_json_and_csv(written, report):
    content = json.loads((written / "metrics.json").read_text())
    assert content["metrics"] == report().metrics
    assert content["scans"] == {"tube": {"good": 2, "cut": 3}}
    assert content["defects"]["tube"]["hole"]["aupro_0.3"] is None
    with open(written / "metrics.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = [row for row in rows if (row["method"], row["class"], row["metric"]) == ("distance", "disc", "aupro_0.3")]
    assert [float(row["value"]) for row in found] == [report().metrics["distance"]["disc"]["aupro_0.3"]]
    assert len(rows) == 4 * 3 * 2 + 1 + 2
    with open(written / "scans.csv", newline="") as stream:
        verdicts = {row["scan"]: (float(row["score"]), row["verdict"]) for row in csv.DictReader(stream)}
    assert verdicts["tube/test/cut/000"] == (0.1, "missed")
    with open(written / "curves.csv", newline="") as stream:
        corners = [row for row in csv.DictReader(stream) if (row["curve"], row["class"]) == ("roc", "tube")]
    assert len(corners) == 5000
    assert float(corners[-1]["y"]) == 1.0


def test_names_and_numbers_of_any_kind_do_not_stop_the_page(tmp_path):
    curve = (np.array([0.0, 0.1, 0.3]), np.array([0.0, 0.5, 1.0]))
    data = ReportData(
        title="$title",
        facts={"Scans": 3},
        metrics={"fused": {"a$b$_{": {"new_metric": np.float32("nan")}}},
        pro_curves={"a$b$_{": curve},
        training={"train/$x^$": ([0, 1, 2], [np.nan, np.inf, 1.0])},
        outcomes=[ScanOutcome(key="a$b$_{/test/good/0", label=0, score=float("nan"), verdict=None)],
    )
    page = read_page(tmp_path, data)
    assert "$title" in page.text
    assert "new metric" in page.text
    assert "–" in page.text


def test_a_report_of_nothing_is_a_page(tmp_path):
    page = read_page(tmp_path, ReportData(title="empty"))
    assert page.headings == []
    assert "empty" in page.text


def test_a_method_without_parts_and_without_a_threshold_has_a_page(report, panels, tmp_path):
    bare = panels()
    for one in bare:
        one.verdict, one.rgb, one.points = None, None, None
    data = report(metrics={"3DSR": {"tube": {"aupro_0.3": 0.5}}}, panels=bare, threshold=None, baselines={}, defects={})
    page = read_page(tmp_path, data)
    assert "Verdicts at the threshold" not in page.headings
    assert "By defect kind" not in page.headings
    assert "not judged" in page.text
    assert {alt.split(" of ")[0] for alt, _ in page.images} == {"depth", "fused", "true defect"}


def test_a_strip_shows_all_maps_side_by_side(panel):
    strip = panel_png(panel("a/test/cut/0", score=1, verdict=1, parts=True))
    assert strip.size == (6 * (32 + 8) + 8, 66 + 24 + 8)
    four = panel_png(panel("a/test/cut/0", score=1, verdict=1))
    assert four.size == (4 * (32 + 8) + 8, 66 + 24 + 8)
    picture = np.asarray(four)[66:-8, 8 : 8 + 32]
    assert (picture == 120).all()


def test_a_report_cannot_be_written_into_a_file(tmp_path):
    (tmp_path / "report").write_text("taken")
    with pytest.raises(UserError, match="cannot write"):
        write_report(tmp_path / "report", ReportData(title="t"))


def test_no_global_state_of_the_plotting_library_is_touched(written):
    import sys

    import matplotlib

    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
    assert matplotlib.rcParams["svg.fonttype"] == matplotlib.rcParamsDefault["svg.fonttype"]
