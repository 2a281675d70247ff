"""Write the built-in data set: ten classes in MVTec 3D-AD's layout."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from threedzal.data.generated.classes import CLASS_NAMES, CLASSES
from threedzal.data.generated.products import object_class, product_name
from threedzal.data.generated.scan import ScanSpec, class_camera, make_scan
from threedzal.errors import UserError
from threedzal.files import atomic_path, write_text

MARKER = "generated.json"
UNFINISHED = ".generating.json"  # written first, gone at the end: tells an interrupted run's folder from anybody else's
VERSION = 1  # of the pictures: raised whenever the same options give other bytes
SMALLEST = 64


def generate(
    out: str | Path,
    *,
    classes: Iterable[str] | None = None,
    size: int = 400,
    train: int = 24,
    validation: int = 8,
    test_good: int = 10,
    test_per_defect: int = 5,
    products: int = 0,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Generate scans under `out`, laid out as MVTec 3D-AD.

    `CLASS/calibration/camera_parameters.json`, `CLASS/{train,validation}/good/{rgb,xyz}/NNN.{png,tiff}` and
    `CLASS/test/DEFECT/{rgb,xyz,gt}/NNN.*`. xyz is float32 (h, w, 3) in metres, (0, 0, 0) where nothing was measured;
    gt is uint8, 0 where good and one value a defect kind (255, 254, ... in the order of `DEFECTS[CLASS]`) elsewhere.

    Each scan depends on (seed, class, split, defect, index, size) alone: not on the number of workers nor on what
    else is asked for. `generated.json` is written last; where it is there with the same options, nothing is done.

    Args:
        classes: names out of `CLASS_NAMES`; None is all ten.
        size: pixels of the longer side (at least 64); two classes are not square.
        train, validation, test_good, test_per_defect: scans a class (and, for the last, a defect kind).
        products: so many more classes, `product_000` and on, of one good training scan: each another product, drawn at
            random, for variety to learn from.
        workers: processes; None is one a CPU core, 0 or 1 renders in this process.
        progress: show a bar on standard error, where that is a terminal.

    Raises:
        UserError: an option out of range, an unknown class, `out` holds something else, or a file cannot be written.
    """
    out = Path(out)
    counts = {"train": train, "validation": validation, "test_good": test_good, "test_per_defect": test_per_defect}
    names = _checked_classes(classes)
    _check_numbers(size=size, seed=seed, workers=workers, products=products, **counts)
    options = {"version": VERSION, "classes": names, "size": size, "seed": seed, **counts}
    options |= {"products": products} if products else {}  # data sets without are older than the option
    if _already_there(out, options):
        print(f"{out} already holds this data set")
        return

    specs = list(_specs(names, seed=seed, **counts))
    specs += [ScanSpec(product_name(number), "train", "good", 0, seed) for number in range(products)]
    write_text(out / UNFINISHED, json.dumps(options))
    for name in (*names, *map(product_name, range(products))):
        camera = class_camera(object_class(name, seed=seed), size=size)
        parameters = json.dumps(camera.parameters(), indent=2)
        write_text(out / name / "calibration" / "camera_parameters.json", parameters + "\n")
    work = partial(write_scan, out=out, size=size)
    _run(work, specs, workers=os.cpu_count() or 1 if workers is None else workers, progress=progress)
    write_text(out / MARKER, json.dumps(options, indent=2) + "\n")
    (out / UNFINISHED).unlink()


def write_scan(spec: ScanSpec, *, out: Path, size: int) -> None:
    """Render one scan and write its files, each under a temporary name first."""
    import tifffile
    from PIL import Image

    scan = make_scan(spec, size=size)
    folder, name = out / spec.class_name / spec.split / spec.defect, f"{spec.index:03d}"
    with atomic_path(folder / "xyz" / f"{name}.tiff") as part:
        # as the official files: plain, one page, three samples a pixel; no date, so that the bytes repeat
        tifffile.imwrite(part, scan.xyz, photometric="rgb", software=False, metadata=None)
    with atomic_path(folder / "rgb" / f"{name}.png") as part:
        Image.fromarray(scan.rgb).save(part)
    if spec.split == "test":
        with atomic_path(folder / "gt" / f"{name}.png") as part:
            Image.fromarray(scan.gt).save(part)


def _specs(
    names: list[str], *, train: int, validation: int, test_good: int, test_per_defect: int, seed: int
) -> Iterator[ScanSpec]:
    """Every scan of the data set."""
    for name in names:
        parts = [("train", "good", train), ("validation", "good", validation), ("test", "good", test_good)]
        parts += [("test", defect, test_per_defect) for defect in CLASSES[name].defects]
        for split, defect, count in parts:
            yield from (ScanSpec(name, split, defect, index, seed) for index in range(count))


def _run(work, specs: list[ScanSpec], *, workers: int, progress: bool) -> None:
    """Do all the work, in this process or in a pool of fresh ones (spawn: safe beside threads and CUDA)."""
    from threedzal.progress import track

    def show(results):
        return track(results, "generating scans", total=len(specs)) if progress else results

    if workers <= 1 or len(specs) < 2:
        for _ in show(map(work, specs)):
            pass
        return
    # an interrupt is for this process to handle; the others would only add their tracebacks
    quiet = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_IGN)}
    with ProcessPoolExecutor(min(workers, len(specs)), mp_context=get_context("spawn"), **quiet) as pool:
        try:
            for _ in show(pool.map(work, specs, chunksize=1)):
                pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _checked_classes(classes: Iterable[str] | None) -> list[str]:
    """The class names, in the data set's order, each once."""
    if classes is None:
        return list(CLASS_NAMES)
    wanted = [classes] if isinstance(classes, str) else list(classes)
    unknown = [name for name in wanted if name not in CLASS_NAMES]
    if unknown or not wanted:
        raise UserError(f"classes: got {unknown or 'none'}, wanted some of {', '.join(CLASS_NAMES)}")
    return [name for name in CLASS_NAMES if name in wanted]


def _check_numbers(*, size: int, seed: int, workers: int | None, **counts: int) -> None:
    """Ranges of the whole-number options."""
    least = {"size": SMALLEST, "seed": 0, "workers": 0, **dict.fromkeys(counts, 0)}
    for option, value in {"size": size, "seed": seed, "workers": 0 if workers is None else workers, **counts}.items():
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least[option]:
            raise UserError(f"{option}: got {value!r}, wanted a whole number of at least {least[option]}")
    if max(counts.values()) > 1000:
        raise UserError(
            f"{max(counts, key=counts.get)}: got {max(counts.values())}, wanted at most 1000 (names are NNN)"
        )


def _already_there(out: Path, options: dict) -> bool:
    """Whether `out` holds exactly this data set; raises where it holds anything but an unfinished run of it."""
    if not out.exists():
        return False
    if not out.is_dir():
        raise UserError(f"{out} is a file, wanted a folder for the data set; name another one")
    if _read(out / MARKER) == options:
        return True
    if _read(out / UNFINISHED) == options or not any(out.iterdir()):
        return False
    if (out / MARKER).is_file() or (out / UNFINISHED).is_file():
        raise UserError(f"{out} holds a generated data set with other options; name another folder or remove it")
    found = min(p.name for p in out.iterdir())
    raise UserError(f"{out} holds other data ({found}); name an empty or new folder")


def _read(path: Path) -> dict | None:
    """The options in a marker file; None where there is none or it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
