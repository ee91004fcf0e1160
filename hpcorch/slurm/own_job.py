"""What a process in a job may ask Slurm about that job."""

from __future__ import annotations

import time

from hpcorch import process, tunables
from hpcorch.slurm.answers.times import seconds_left
from hpcorch.slurm.commands import squeue_time_left
from hpcorch.slurm.job_environment import Job


def end_of(job: Job) -> float | None:
    """When the job reaches its time limit, by the wall clock; None if it has none or it is unknown.

    Slurm is asked only where it has not said so in the environment, as older releases do not.
    """
    if job.end is not None:
        return job.end
    try:
        done = process.run(squeue_time_left(job.element), timeout_s=tunables.OWN_JOB_TIMEOUT_S)
    except (process.CommandMissingError, process.CommandTimeoutError):
        return None
    left = seconds_left(done.stdout) if done.returncode == 0 else None
    return None if left is None else time.time() + left
