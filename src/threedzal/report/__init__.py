"""A page a test run: verdict, tables, curves and the scans, worst mistakes first, in one file that needs no network."""

from threedzal.report.baselines import read_baselines
from threedzal.report.content import ReportData, ScanOutcome, ScanPanel, pixel_overlap, worst_first
from threedzal.report.gallery import panel_png
from threedzal.report.page import write_report

__all__ = [
    "ReportData",
    "ScanOutcome",
    "ScanPanel",
    "panel_png",
    "pixel_overlap",
    "read_baselines",
    "worst_first",
    "write_report",
]
