"""Requests to the scheduler, and its answers."""

from __future__ import annotations

from hpcorch.model.events.base import Fact, Ranges, Time
from hpcorch.model.ids import AttemptId
from hpcorch.model.job_states import JobState, Witness
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRequested(Fact):
    """Somebody asked for these runs of a submission to be cancelled, held or released.

    Written before the scheduler gets the request, so that its later answers can be attributed to the request.
    """

    kind = "control-requested"
    submission: int
    action: str  # cancel | hold | release
    runs: Ranges  # run indices: "0-4,7"
    user: str
    uid: int
    host: str
    checkpoint: bool = False  # they were asked to save a checkpoint and then end


@dataclass(frozen=True, slots=True, kw_only=True)
class JobObserved(Fact):
    """What the scheduler reported about one array element. Written only if it differs from the last report."""

    kind = "job-observed"
    submission: int
    run: int
    restart: int
    state: str  # a word of JobState, also for the local backend; a newer version may have others
    witness: str  # a word of Witness
    reason: str | None = None
    node: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    start: Time | None = None
    end: Time | None = None
    over_memory: bool | None = None  # if SIGKILL ended it: whether its log says that it exceeded its memory limit
    cancelled_by: int | None = None  # uid of the user who cancelled it, from sacct
    preempted: bool | None = None  # of a job that ended by itself, or is ending: whether Slurm preempts it

    @property
    def attempt(self) -> AttemptId:
        """The attempt that the fact is about."""
        return AttemptId(run=self.run, submission=self.submission, restart=self.restart)

    @property
    def job_state(self) -> JobState:
        """What ``state`` says; ``UNKNOWN`` if this version does not know the word."""
        return JobState.of(self.state)

    @property
    def told_by(self) -> Witness:
        """Who said it; ``UNKNOWN`` if this version does not know the word in ``witness``."""
        return Witness.of(self.witness)
