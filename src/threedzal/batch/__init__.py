"""A batch of unlabelled scans as its own reference: normal patches find near-twins in other scans, defects do not.

No training scan is needed, of any class. Transductive: a score belongs to the batch it was judged in.
"""

from threedzal.batch.options import BatchOptions
from threedzal.batch.reference import BatchJudgement, BatchReference

__all__ = ["BatchJudgement", "BatchOptions", "BatchReference"]
