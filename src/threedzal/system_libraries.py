"""`python -m threedzal.system_libraries`: install the system libraries that Open3D loads, or name them."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys

# shared library that Open3D's wheel loads -> Debian's package
LIBRARIES = {"usb-1.0": "libusb-1.0-0", "GL": "libgl1", "gomp": "libgomp1", "X11": "libx11-6"}


def missing_packages() -> list[str]:
    """Debian's names of the packages whose library cannot be found."""
    return [package for library, package in LIBRARIES.items() if ctypes.util.find_library(library) is None]


def main() -> int:
    """Install what is missing where the rights are there; else say in one sentence what to install."""
    packages = missing_packages()
    if not packages:
        return 0
    if os.name == "posix" and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
        subprocess.run(["apt-get", "update", "-qq"], check=False, **quiet)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], check=False, **quiet)
        packages = missing_packages()
    if packages:
        print(
            f"Open3D needs system libraries that are not here: install {' '.join(packages)} "
            f"(on Debian and Ubuntu: sudo apt-get install {' '.join(packages)}), or keep `fpfh_backend: torch`.",
            file=sys.stderr,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
