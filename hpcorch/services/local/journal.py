"""What a local pool writes down in the sweep's control journal: its submission, and ends that no task recorded."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from hpcorch.journal.control import control_journal
from hpcorch.journal.history import read_history
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.events import (
    AttemptEnded,
    JobObserved,
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionReleased,
)
from hpcorch.model.ids import AttemptId, format_ranges, new_token, utc_now
from hpcorch.model.job_states import JobState
from hpcorch.runtime.context.claim import read_attempt
from hpcorch.services.local.processes import pool_id
from hpcorch.services.observation.attribution import attributed, cancelled_runs


class PoolRecord:
    """The record of one pool, which is this process.

    :param runs: of the launch, in the order of the pool's tasks: task 0 executes the first
    :ivar number: of the submission, once it is known
    :ivar job_id: the pool's id, from then on
    """

    def __init__(self, layout: SweepLayout, *, sweep: str, launch: int, runs: Sequence[int]) -> None:
        self.number = -1
        self.job_id = ""
        self._layout = layout
        self._sweep = sweep
        self._launch = launch
        self._runs = runs

    def submit(self) -> None:
        """Make the submission known: from now on its runs are this pool's. Done once."""
        if self.job_id:
            return
        with control_journal(self._layout) as control:
            self.number = read_history(self._layout, self._sweep).next_submission
            self.job_id = pool_id(os.getpid())
            control.append(
                SubmissionIntended(
                    submission=self.number,
                    launch=self._launch,
                    runs=format_ranges(self._runs),
                    token=new_token(),
                    backend="local",
                    host=socket.gethostname(),
                    script="",
                )
            )
            control.append(SubmissionAccepted(submission=self.number, job_id=self.job_id))
            control.append(SubmissionReleased(submission=self.number), durable=True)

    def is_cancelled(self, task: int) -> bool:
        """Whether somebody has asked to cancel what a task is to execute."""
        requests = read_history(self._layout, self._sweep).requests
        return self._runs[task] in cancelled_runs(requests, self.number)

    def has_end(self, task: int) -> bool:
        """Whether the task's own journal has a last word."""
        attempt = AttemptId(run=self._runs[task], submission=self.number, restart=0)
        return any(isinstance(event.fact, AttemptEnded) for event in read_attempt(self._layout, attempt))

    def word(
        self, task: int, state: JobState, reason: str, number: int | None = None, *, exit_code: int | None = None
    ) -> JobObserved:
        """What is to be said of a task that is over.

        :param number: of the signal that killed it
        """
        return JobObserved(
            submission=self.number,
            run=self._runs[task],
            restart=0,
            state=state.value,
            witness="local",
            reason=reason,
            exit_code=exit_code,
            signal=number,
            end=utc_now(),
        )

    def append(self, words: Sequence[JobObserved]) -> None:
        """Say so, with the names of those who asked for it."""
        if words:
            with control_journal(self._layout) as control:
                for word in attributed(words, read_history(self._layout, self._sweep).requests):
                    control.append(word)
