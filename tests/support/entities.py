"""What the ledger and Slurm tell, built with what a test is about; everything else is as good as any."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hpcorch.model.entities import Attempt, Run, Submission
from hpcorch.model.job_states import JobState
from hpcorch.model.states import AttemptState, Backend, RunState, SubmissionState
from hpcorch.slurm.answers.sacct import AccountingRow
from hpcorch.slurm.answers.squeue import QueueRow

NOON = "2026-01-01T12:00:00.000000Z"


def run(number: int = 0, state: RunState = RunState.COMPLETED, **values: Any) -> Run:
    """A run of the first launch."""
    found: dict[str, Any] = {
        "sweep": "s",
        "run": number,
        "launch": 0,
        "base": 0,
        "state": state,
        "overrides": (),
        "params": {},
        "changes": {},
        "config_digest": "",
        "seed": 7,
        "seed_source": "derived",
        "directory": "/sweep",
    }
    return Run(**{**found, **values})


def submission(number: int = 0, runs: tuple[int, ...] = (0,), **values: Any) -> Submission:
    """A submission to Slurm that went through, without a job id unless one is given."""
    found: dict[str, Any] = {
        "sweep": "s",
        "submission": number,
        "launch": 0,
        "runs": runs,
        "token": f"{number:032x}",
        "backend": Backend.SLURM,
        "script": f".hpcorch/submissions/s{number}.sbatch",
        "state": SubmissionState.RELEASED,
        "intended_at": NOON,
    }
    return Submission(**{**found, **values})


def attempt(number: int = 0, state: AttemptState = AttemptState.RUNNING, **values: Any) -> Attempt:
    """The first attempt of a run."""
    found: dict[str, Any] = {"sweep": "s", "run": number, "submission": 0, "restart": 0, "state": state}
    return Attempt(**{**found, **values})


def queue_row(job: str, index: int | None, state: JobState, **values: Any) -> QueueRow:
    """What squeue says of an element of an array, or of a job that is none."""
    found = {**_named(job, index), "submitted_at": None, "nodes": "", "reason": None, "comment": ""}
    return QueueRow(state=state, **{**found, **values})


def accounting_row(job: str, index: int | None, state: JobState, at: datetime, **values: Any) -> AccountingRow:
    """What sacct says of an element that began and ended at one moment."""
    found = {
        **_named(job, index),
        "exit_code": 0,
        "signal": 0,
        "submitted_at": at,
        "started_at": at,
        "ended_at": at,
        "nodes": "n1",
        "reason": None,
        "cancelled_by": None,
    }
    return AccountingRow(state=state, **{**found, **values})


def _named(job: str, index: int | None) -> dict[str, Any]:
    name = job if index is None else f"{job}_{index}"
    return {"job_id": name, "raw_id": job, "array_job_id": job, "index": index}
