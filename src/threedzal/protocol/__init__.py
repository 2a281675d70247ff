"""Many experiments as one: jobs that are never run twice, wherever and however often they are started.

from threedzal.protocol import Job, run_jobs

jobs = [Job("3dzal", ("configs/3dzal.yaml",), train=("bagel",), test=(name,)) for name in ("rope", "tire")]
outcome = run_jobs(jobs, "lightning_logs/protocol")
outcome.results[jobs[0]].metrics["rope"]["fused/aupro_0.3"], outcome.failures
"""

from threedzal.protocol.folder import Failure, JobFolder, Result
from threedzal.protocol.jobs import Job
from threedzal.protocol.runner import Outcome, run_jobs

__all__ = ["Failure", "Job", "JobFolder", "Outcome", "Result", "run_jobs"]
