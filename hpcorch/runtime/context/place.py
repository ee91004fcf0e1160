"""Where this process stands: which attempt of which run, on which node, as which rank."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcorch.errors import UsageError
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.ids import AttemptId
from hpcorch.quick_dataclasses import dataclass
from hpcorch.slurm.job_environment import Job, job_here


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One process of one attempt.

    :param launch: index of the first run of the launch that the run belongs to
    :param job: that Slurm started the process in; None where it did not
    :param array_task: the array index, of the submission or of the local pool; None of what is no array
    :param pool: id of the local pool that started it
    :param is_packed: its job executes other runs as well
    :param forked: it was forked from a process that had executed the program up to its call of the function
    """

    layout: SweepLayout
    launch: int
    attempt: AttemptId
    host: str
    job: Job | None = None
    array_task: int | None = None
    pool: str | None = None
    gpus: str | None = None
    is_packed: bool = False
    forked: bool = False

    @property
    def rank(self) -> int:
        """0 leads; other ranks follow."""
        return 0 if self.job is None else self.job.rank

    @property
    def tasks(self) -> int:
        """The number of ranks."""
        return 1 if self.job is None else self.job.ranks

    @property
    def job_id(self) -> str | None:
        """Of this element alone, or of the local pool."""
        return self.pool if self.job is None else self.job.raw_id

    @property
    def hydra_job_id(self) -> str:
        """What ``hydra.job.id`` says: the array element, as in submitit, or the local pool's id and index."""
        return f"{self.pool or 'job'}_{self.array_task}" if self.job is None else self.job.element


def find_place(
    layout: SweepLayout,
    *,
    launch: int,
    submission: int,
    runs: Sequence[int],
    environ: Mapping[str, str],
    array_task: int | None = None,
    job_id: str | None = None,
    restart: int | None = None,
) -> Place:
    """The place that the arguments of a run's process and the environment name.

    :param runs: the run indices of the submission; array index i is the i-th of them
    :param array_task: the array index if no scheduler sets one
    :param job_id: the local pool's, likewise
    :param restart: of the run, if a packed task starts it: ``array_task`` is the run's place then
    :raises UsageError: the array index is missing or not one of the submission
    """
    is_packed = restart is not None
    job = job_here(environ) if is_packed or array_task is None else None
    index = job.index if job is not None and not is_packed else array_task
    if index is None:
        raise UsageError(
            "neither SLURM_ARRAY_TASK_ID nor --task says which task of the array this is: this program is started"
            " by the sbatch script or the local pool, not by hand"
        )
    if not 0 <= index < len(runs):
        raise UsageError(f"array index {index} is not one of the {len(runs)} that submission {submission} has")
    return Place(
        layout=layout,
        launch=launch,
        attempt=AttemptId(
            run=runs[index], submission=submission, restart=_restart(job) if restart is None else restart
        ),
        host=_host_name(job),
        job=job,
        array_task=job.index if job is not None else index,
        is_packed=is_packed,
        pool=job_id if job is None else None,
        gpus=environ.get("CUDA_VISIBLE_DEVICES"),
    )


def place_in(layout: SweepLayout, attempt: AttemptId, launch: int, job: Job | None) -> Place:
    """The place of this process in an attempt that a command is, or is a step of."""
    return Place(
        layout=layout,
        launch=launch,
        attempt=attempt,
        host=_host_name(job),
        job=job,
        array_task=None if job is None else job.index,
        gpus=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )


def _restart(job: Job | None) -> int:
    return 0 if job is None else job.restart


def _host_name(job: Job | None) -> str:
    """The node as Slurm calls it, or this machine's own name."""
    return (job.node if job is not None else None) or os.uname().nodename


def log_file() -> Path | None:
    """The file that this process' output goes to, if it is one.

    Under srun the output is a pipe, and the batch script has said which file is behind it.
    """
    with contextlib.suppress(OSError):
        target = Path("/proc/self/fd/1").readlink()
        if target.is_file():
            return target
    said = os.environ.get("HPCORCH_LOG")
    return Path(said) if said and Path(said).is_file() else None
