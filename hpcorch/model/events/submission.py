"""Submissions: each is one array of jobs."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from hpcorch.model.events.base import Fact, Form, Ranges
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionIntended(Fact):
    """A submission is about to be made. Written to disk before sbatch starts, so that no submission is lost."""

    kind = "submission-intended"
    submission: int
    launch: int
    runs: Ranges  # array index i is the i-th of these, "0-4,7"; of a user's script each index is the run
    token: str
    backend: str  # a word of Backend
    host: str
    script: str  # path relative to the sweep directory; empty if hpcorch submitted none
    script_digest: str | None = None  # sha256:<hexadecimal> of that file
    changed: dict[str, Any] | None = None  # launcher keys that differ from the launch's own
    throttle: dict[str, Any] | None = None  # {"units": {resource: of each run}, "bound": most runs at once, …}
    at_once: int | None = None  # array_parallelism, if set: how many runs of the sweep may run at once
    form: Form | None = None  # None is "tasks"
    tasks: int | None = None  # of a packed array, whose tasks take the runs one by one: how many there are
    parallel: int | None = None  # how many runs each of these executes at once; None is one


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionAccepted(Fact):
    """The submission exists under this job id; its tasks are held until released."""

    kind = "submission-accepted"
    submission: int
    job_id: str
    cluster: str | None = None
    cancelled_duplicates: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionReleased(Fact):
    """The submission's tasks may start; those of a throttled one start when capacity is free."""

    kind = "submission-released"
    submission: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRejected(Fact):
    """The submission does not exist: Slurm refused it, or a settled search found nothing."""

    kind = "submission-rejected"
    submission: int
    reason: str
    limited: bool | None = None  # because of a limit on the user's jobs
    absent: bool | None = None  # nobody refused it: a settled search found nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionUnknown(Fact):
    """sbatch ended without an answer, or with a job's id that nothing confirms. What exists must be looked up."""

    kind = "submission-unknown"
    submission: int
    reason: str
    printed: str | None = None  # the job id that sbatch printed; no job shows the token


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperSubmitted(Fact):
    """A small job will tend the sweep when a submission's array is over, so that nobody needs to be logged in."""

    kind = "keeper-submitted"
    submission: int
    job_id: str
