"""Where this process stands: which attempt of which run, on which node, as which rank.

The variables are those that slurmstepd sets (sbatch(1) and srun(1), OUTPUT ENVIRONMENT VARIABLES).
``SLURM_RESTART_COUNT`` is unset at the first start (measured on 22.05, 24.11, 26.05).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcorch.errors import UsageError
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.ids import AttemptId
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One process of one attempt.

    :param launch: index of the first run of the launch that the run belongs to
    :param rank: 0 leads; other ranks follow
    :param tasks: number of ranks
    """

    layout: SweepLayout
    launch: int
    attempt: AttemptId
    array_task: int
    rank: int
    tasks: int
    host: str
    job_id: str | None
    array_job_id: str | None
    nodes: str | None
    gpus: str | None

    @property
    def hydra_job_id(self) -> str:
        """What ``hydra.job.id`` says: the array element, as in submitit, or the local pool's id and index."""
        return f"{self.array_job_id or self.job_id or 'job'}_{self.array_task}"


def find_place(
    directory: Path,
    *,
    launch: int,
    submission: int,
    runs: Sequence[int],
    environ: Mapping[str, str],
    array_task: int | None = None,
    job_id: str | None = None,
) -> Place:
    """The place that the arguments and the environment name.

    :param runs: the run indices of the submission; array index i is the i-th of them
    :param array_task: the array index where no scheduler sets one
    :raises UsageError: the array index is missing or not one of the submission
    """
    index = array_task if array_task is not None else _integer(environ, "SLURM_ARRAY_TASK_ID")
    if index is None:
        raise UsageError(
            "neither SLURM_ARRAY_TASK_ID nor --task says which task of the array this is: this program is started"
            " by the sbatch script or the local pool, not by hand"
        )
    if not 0 <= index < len(runs):
        raise UsageError(f"array index {index} is not one of the {len(runs)} that submission {submission} has")
    local = array_task is not None
    attempt = AttemptId(
        run=runs[index],
        submission=submission,
        restart=0 if local else _integer(environ, "SLURM_RESTART_COUNT") or 0,
    )
    return Place(
        layout=SweepLayout(directory),
        launch=launch,
        attempt=attempt,
        array_task=index,
        rank=0 if local else _integer(environ, "SLURM_PROCID") or 0,
        tasks=1 if local else _integer(environ, "SLURM_STEP_NUM_TASKS") or 1,
        host=os.uname().nodename if local else environ.get("SLURMD_NODENAME") or os.uname().nodename,
        job_id=job_id if local else environ.get("SLURM_JOB_ID"),
        array_job_id=None if local else environ.get("SLURM_ARRAY_JOB_ID"),
        nodes=None if local else environ.get("SLURM_JOB_NODELIST"),
        gpus=environ.get("CUDA_VISIBLE_DEVICES"),
    )


def _integer(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    return int(text) if text.isdigit() else None


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


def cpu_count() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0))
