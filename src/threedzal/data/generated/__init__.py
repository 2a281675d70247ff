"""The built-in data set: ten classes of objects, rendered in MVTec 3D-AD's layout.

`scan.make_scan` renders one scan with its defect-free twin; `generate` writes a whole data set.
"""

from threedzal.data.generated.classes import CLASS_NAMES, DEFECTS
from threedzal.data.generated.writer import generate

__all__ = ["CLASS_NAMES", "DEFECTS", "generate"]
