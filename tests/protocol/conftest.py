"""A stand-in for `python -m threedzal` that takes no time, so that what is tested is the running of jobs."""

import json
import os
import sys
from pathlib import Path

import pytest

# Writes what the real one writes, and does as the config says: `fake: {fail: fit}`, `fake: {wait: FIFO}` (a fit that
# has written its checkpoint says so in one pipe and waits for a word in another).
FAKE = """
import json, os, sys
from pathlib import Path
import yaml

stage, args = sys.argv[1], sys.argv[2:]
values = {name: value for name, value in zip(args, args[1:]) if name.startswith("--")}
configs = [yaml.safe_load(Path(v).read_text()) for n, v in zip(args, args[1:]) if n == "--config"]
options = {k: v for config in configs for k, v in config.items()}
fake = next((config["fake"] for config in configs if "fake" in config), {})
own = options["trainer"]["logger"][0]["init_args"]
folder = Path(own["save_dir"]) / own["version"]
folder.mkdir(parents=True, exist_ok=True)
with open(Path(own["save_dir"]).parent / "calls.txt", "a") as calls:
    calls.write(json.dumps({"stage": stage, "args": args, "seed": options["seed_everything"]}) + chr(10))
if fake.get("fail") == stage and options["data"]["test_classes"] == fake.get("on", options["data"]["test_classes"]):
    print("threedzal: error: it was told to fail")
    sys.exit(2)
if stage == "fit":
    last = Path(options["checkpoint"]["dirpath"]) / "last.ckpt"
    last.parent.mkdir(exist_ok=True)
    if not last.exists():
        last.write_text("epoch 1")
        if "wait" in fake:
            Path(fake["wait"] + ".reached").write_text(str(os.getpid()))
            Path(fake["wait"]).read_text()
    (folder / "fitted.ckpt").write_text("fitted")
else:
    assert Path(values["--ckpt_path"]).read_text() == "fitted"
    names = [f"test/{c}/{row}/{m}" for c in options["data"]["test_classes"] + ["mean"]
             for row in ("fused", "distance", "foreground") for m in ("aupro_0.3", "image_auroc")]
    (folder / "metrics.csv").write_text(",".join(["epoch", *names]) + chr(10) + ",".join(["0"] + ["0.5"] * len(names)))
    (folder / "timing.json").write_text(json.dumps({"milliseconds_a_scan": 12.5}))
"""


@pytest.fixture
def root(tmp_path) -> Path:
    """Folder of the jobs."""
    return tmp_path / "jobs"


@pytest.fixture
def fake(tmp_path, monkeypatch) -> dict[str, str]:
    """Environment in which `python -m threedzal` is the stand-in."""
    package = tmp_path / "fake" / "threedzal"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(FAKE)
    return {"PYTHONPATH": str(package.parent)}


@pytest.fixture
def config(tmp_path):
    """`config(fake={...}, model={...})`: path of a config with these sections."""

    def write(**sections: object) -> str:
        path = tmp_path / f"config{len(list(tmp_path.glob('config*')))}.yaml"
        path.write_text(json.dumps(sections))  # JSON is YAML
        return str(path)

    return write


@pytest.fixture
def calls(root):
    """`calls()`: the processes that were started, in their order."""

    def read() -> list[dict]:
        path = root / "calls.txt"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return read


@pytest.fixture
def pipe(tmp_path) -> str:
    """A FIFO: who reads it waits for who writes it; with one more that says that the reader has come so far."""
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    os.mkfifo(path + ".reached")
    return path


@pytest.fixture
def runner_script() -> list[str]:
    """Command of a runner in a process of its own; config, root and PYTHONPATH of the stand-in come after it."""
    code = (
        "import sys; from threedzal.protocol import Job, run_jobs; config, root, path = sys.argv[1:];"
        "job = Job('m', (config,), ('a',), ('b',));"
        "run_jobs([job], root, environment={'PYTHONPATH': path})"
    )
    return [sys.executable, "-c", code]
