"""The former place of `threedzal.data.index`."""

from threedzal.data.check import check_records
from threedzal.data.index import SPLITS, index_dataset, list_classes, records_from_path, summarise

__all__ = ["SPLITS", "check_records", "index_dataset", "list_classes", "records_from_path", "summarise"]
