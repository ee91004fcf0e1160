"""The environment of a job: every variable of Slurm's that hpcorch reads, and those that hpcorch sets.

slurmstepd sets them (sbatch(1) and srun(1), OUTPUT ENVIRONMENT VARIABLES); salloc sets some of them in the shell
that it starts. ``SLURM_RESTART_COUNT`` is unset at the first start (measured on 22.05, 24.11, 26.05).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from hpcorch.model.processes import SNAPSHOT_VARIABLE
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job, or an element of an array, and this process's place in it.

    :param raw_id: of this element alone; :attr:`id` is the array's
    :param restart: how often Slurm has started it again
    :param end: of the time limit, in seconds since 1970; None if it has none, or on releases that do not tell
    :param step: number of the step that this process belongs to
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


def is_inside_job(environ: Mapping[str, str]) -> bool:
    """Whether the environment is that of a job, or of a program that a job has started."""
    return "SLURM_JOB_ID" in environ or "SLURM_JOBID" in environ


def temporary_folders(environ: Mapping[str, str]) -> list[str]:
    """Where a node may have room for temporary files, the preferred folder first."""
    named = (environ.get("SLURM_TMPDIR"), environ.get("TMPDIR"), "/tmp")  # noqa: S108 - where nodes have it
    return list(dict.fromkeys(filter(None, named)))


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    return int(text) if text.isdecimal() else None


def script_exports(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that every job of ours has before Python starts.

    :param environ: the environment that the job is given
    """
    exports = {
        SNAPSHOT_VARIABLE: "",  # of a job that this process is in: each job has a snapshot of its own
        # Sets of strings iterate alike in every attempt, unless the user chose another seed for hashes.
        "PYTHONHASHSEED": environ.get("PYTHONHASHSEED", "0"),
    }
    if sys.version_info >= (3, 11):
        exports["PYTHONSAFEPATH"] = "1"  # the working directory cannot shadow our modules
    return exports
