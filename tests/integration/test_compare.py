"""A page with pictures, from a fitted file that stands in a job's folder."""

import re
import shutil

from threedzal.cli import main
from threedzal.comparison import Comparison, read_methods, read_pairs
from threedzal.protocol import JobFolder


def test_the_page_shows_each_scan_as_the_methods_map_it(config, fitted, data_root, tmp_path, capsys):
    out = tmp_path / "out"
    comparison = Comparison(
        read_methods(f"mine={config}"), read_pairs("cone:ring"), overrides=(f"--data.root={data_root}",)
    )
    (job,) = comparison.jobs()
    folder = JobFolder(out / "jobs", job)
    folder.fitted.parent.mkdir(parents=True)
    shutil.copy(fitted.fitted, folder.fitted)
    metrics = {f"{row}/{m}": 0.5 for row in ("fused", "foreground") for m in ("aupro_0.3", "image_auroc")}
    costs = {"fit_seconds": 61.4, "test_seconds": 1.0, "milliseconds_a_scan": 12.3, "fitted_bytes": 3 * 2**20}
    folder.write("result", {"metrics": {"ring": metrics}, **costs})

    args = ["compare", "--configs", f"mine={config}", "--pairs", "cone:ring", "--data.root", str(data_root)]
    assert main([*args, "--out", str(out), "--scans", "3"]) == 0
    assert "1 done" in capsys.readouterr().out
    page = (out / "index.html").read_text()
    pictures = re.findall(r'<img src="data:image/webp;base64,[^"]+" alt="([^"]+)"', page)
    assert len(pictures) == 6  # truth and map of three scans
    assert sum(alt.startswith("map of ring/test/") and alt.endswith("by mine") for alt in pictures) == 3
    for word in ("61", "12", "3.0", "foreground", "learned on cone", "threedzal compare"):
        assert word in page
    assert 'src="http' not in page and 'href="http' not in page
