"""The Slurm job that this process is in, as its environment tells.

The variables are those that slurmstepd sets (sbatch(1), OUTPUT ENVIRONMENT VARIABLES); salloc sets some of them in
the shell that it starts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from hpcorch import process, tunables

_TIME_LEFT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job, or an element of an array.

    :param raw_id: of this element alone; :attr:`id` is the array's
    :param restart: how often Slurm has started it again
    :param rank: of this process in its step
    :param ranks: how many there are
    """

    raw_id: str
    array_id: str | None = None
    index: int | None = None
    restart: int = 0
    cluster: str | None = None
    node: str | None = None
    nodes: str | None = None
    end: float | None = None
    step: str | None = None
    rank: int = 0
    ranks: int = 1

    @property
    def id(self) -> str:
        """As it was submitted: of an array the id that all of its elements share."""
        return self.array_id or self.raw_id

    @property
    def element(self) -> str:
        """As Slurm's commands show it: ``369_3``, or ``369`` of what is no array."""
        return self.id if self.index is None else f"{self.id}_{self.index}"


def job_here(environ: Mapping[str, str]) -> Job | None:
    """The job that this process is in; None outside of Slurm."""
    raw_id = environ.get("SLURM_JOB_ID", "")
    if not raw_id.isdecimal():
        return None
    index = _number(environ, "SLURM_ARRAY_TASK_ID")
    return Job(
        raw_id=raw_id,
        array_id=environ.get("SLURM_ARRAY_JOB_ID") if index is not None else None,
        index=index,
        restart=_number(environ, "SLURM_RESTART_COUNT") or 0,
        cluster=environ.get("SLURM_CLUSTER_NAME"),
        node=environ.get("SLURMD_NODENAME"),
        nodes=environ.get("SLURM_JOB_NODELIST"),
        end=_number(environ, "SLURM_JOB_END_TIME"),
        step=environ.get("SLURM_STEP_ID"),
        rank=_number(environ, "SLURM_PROCID") or 0,
        ranks=_number(environ, "SLURM_STEP_NUM_TASKS") or 1,
    )


def end_of(job: Job) -> float | None:
    """When the job reaches its time limit, by the wall clock; None if it has none, or nobody tells.

    Slurm is asked only where it has not said so in the environment, as older releases do not.
    """
    if job.end is not None:
        return job.end
    try:
        done = process.run(["squeue", "-h", "-j", job.element, "-o", "%L"], timeout_s=tunables.OWN_JOB_TIMEOUT_S)
    except (process.CommandMissingError, process.CommandTimeoutError):
        return None
    left = seconds_left(done.stdout) if done.returncode == 0 else None
    return None if left is None else time.time() + left


def seconds_left(text: str) -> int | None:
    """Read squeue's TIME_LEFT, ``1-02:03:04`` or ``03:04``; None for a word such as UNLIMITED."""
    found = _TIME_LEFT.fullmatch(text.strip())
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    return int(text) if text.isdecimal() else None
