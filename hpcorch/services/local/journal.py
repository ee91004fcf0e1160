"""What a local pool writes to the control journal: its submission, and ends that no task recorded."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from hpcorch.journal.control import ControlJournal
from hpcorch.model.events import AttemptEnded, JobObserved
from hpcorch.model.ids import AttemptId, utc_now
from hpcorch.model.job_states import JobState, Witness
from hpcorch.model.states import Backend
from hpcorch.runtime.context.claim import read_attempt
from hpcorch.services.local.processes import pool_id
from hpcorch.services.observation.conclusions import attributed, cancelled_runs
from hpcorch.services.recording.submissions import Intent, SubmissionRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRecord:
    """The record of one pool, which is this process.

    :param number: of its submission
    :param job_id: the pool's id
    :param runs: of the launch, in the order of the pool's tasks: task 0 executes the first
    """

    journal: ControlJournal
    number: int
    job_id: str
    runs: Sequence[int]

    @classmethod
    def submit(cls, journal: ControlJournal, *, launch: int, runs: Sequence[int]) -> PoolRecord:
        """Make the submission known: from now on its runs are this pool's.

        :raises OSError: it cannot be recorded
        :raises UnavailableError: another process is busy with the sweep
        """
        job_id = pool_id(os.getpid())
        with journal.locked():
            submission = SubmissionRecord.next(journal)
            submission.intend(Intent(launch=launch, runs=runs, backend=Backend.LOCAL), durable=False)
            submission.mark_accepted(job_id, durable=False)
            submission.mark_released()
        return cls(journal=journal, number=submission.number, job_id=job_id, runs=tuple(runs))

    def is_cancelled(self, task: int) -> bool:
        """Whether somebody has asked to cancel what a task is to execute."""
        return self.runs[task] in cancelled_runs(self.journal.history().requests, self.number)

    def name(self, task: int) -> str:
        """The run that a task executes, as a selector names it."""
        return f"{self.journal.sweep}/{self.runs[task]}"

    def has_end(self, task: int) -> bool:
        """Whether the task's own journal has a last word."""
        events = read_attempt(self.journal.layout, self._attempt(task))
        return any(isinstance(event.fact, AttemptEnded) for event in events)

    def written(self, task: int) -> tuple[int, float]:
        """How many bytes the task's journal has, and how many seconds ago it was written to; (0, 0) without one."""
        try:
            found = self.journal.layout.journal(self._attempt(task)).stat()
        except FileNotFoundError:
            return 0, 0.0
        return found.st_size, max(0.0, time.time() - found.st_mtime)

    def _attempt(self, task: int) -> AttemptId:
        return AttemptId(run=self.runs[task], submission=self.number, restart=0)

    def word(
        self,
        task: int,
        state: JobState,
        reason: str | None = None,
        number: int | None = None,
        *,
        exit_code: int | None = None,
    ) -> JobObserved:
        """What is to be said of a task that is over, or whose work is.

        :param number: of the signal that killed it
        """
        return JobObserved(
            submission=self.number,
            run=self.runs[task],
            restart=0,
            state=state.value,
            witness=Witness.LOCAL.value,
            reason=reason,
            exit_code=exit_code,
            signal=number,
            end=utc_now(),
        )

    def append(self, words: Sequence[JobObserved]) -> None:
        """Say so, with the names of those who asked for it."""
        if words:
            with self.journal.locked():  # a user may have asked for it until now
                self.journal.append(*attributed(words, self.journal.history().requests))
