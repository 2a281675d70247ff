"""Metrics of section 6 of the method: localisation (AUPRO and its kin) and detection."""

from threedzal.metrics.aupro import AUPRO, aupro, pro_curve
from threedzal.metrics.scan_metrics import ScanMetrics

__all__ = ["AUPRO", "ScanMetrics", "aupro", "pro_curve"]
