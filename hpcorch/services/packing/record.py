"""What a packed task reads of the control journal, and what it writes there of runs that could not say it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import replace

from hpcorch import tunables
from hpcorch.errors import HpcorchError
from hpcorch.journal.control import ControlHistory, ControlJournal
from hpcorch.model.entities import Cancellation
from hpcorch.model.events import AttemptClaimed, AttemptEnded, JobObserved
from hpcorch.model.ids import AttemptId, format_ranges, utc_now
from hpcorch.model.job_states import JobState, Witness
from hpcorch.model.processes import signal_name
from hpcorch.model.states import AttemptOutcome, SubmissionState
from hpcorch.runtime.context.claim import read_attempt
from hpcorch.runtime.context.output import say
from hpcorch.runtime.context.signals import WARNING_SIGNAL
from hpcorch.services.local.journal import of_exit_code
from hpcorch.services.observation.conclusions import attributed

# Slurm's word is on the element.
_NOT_SLURM = frozenset({Witness.LOCAL, Witness.REQUEST})


class TaskRecord:
    """The record that the tasks of a packed array share.

    :param number: of the submission
    :param host: the node, as attempts record it
    """

    def __init__(self, journal: ControlJournal, number: int, host: str) -> None:
        self.layout = journal.layout
        self._journal = journal
        self._number = number
        self._host = host
        self._looked_at = 0.0  # by the monotonic clock
        self._history: ControlHistory | None = None
        self._cancelled: list[JobObserved] = []  # while they waited, and not on record yet

    def cancellation_of(self, run: int) -> Cancellation | None:
        """The request to cancel a run, if somebody has asked."""
        submission = self._recent().submissions.get(self._number)
        return None if submission is None else submission.cancellation_of(run)

    def is_over(self, attempt: AttemptId) -> bool:
        """Whether a run is not to be executed (any more): it failed, is cancelled, or another submission has it.

        That it is cancelled is on record after :meth:`note_cancelled`.
        """
        history = self._recent()
        if any(one.run == attempt.run and self._ends(history, one) for one in _until(attempt)):
            return True
        if self._is_submitted_again(history, attempt.run):
            return True
        if self.cancellation_of(attempt.run) is None:
            return False
        word = self._word(attempt, JobState.CANCELLED, "cancelled while it waited")
        self._cancelled.append(replace(word, node=None))  # it never was on this one
        return True

    def note_cancelled(self) -> None:
        """Record which runs were cancelled while they waited: all at once, since there may be thousands."""
        words, self._cancelled = self._cancelled, []
        if words:
            self._say(words)

    def _ends(self, history: ControlHistory, attempt: AttemptId) -> bool:
        word = history.observed.get(attempt)
        return word is not None and word.told_by in _NOT_SLURM and word.job_state.ends_attempt

    def _is_submitted_again(self, history: ControlHistory, run: int) -> bool:
        later = (one for number, one in history.submissions.items() if number > self._number)
        return any(one.state is not SubmissionState.REJECTED and run in one.runs for one in later)

    def _recent(self) -> ControlHistory:
        """What is on record, at most some seconds old, or older where it cannot be read for a moment."""
        now = time.monotonic()
        if self._history is None or now >= self._looked_at + tunables.PACKED_LOOK_S:
            try:
                self._history = self._journal.history()
            except (HpcorchError, OSError):
                if self._history is None:
                    raise
            self._looked_at = now
        return self._history

    def has_begun(self, attempt: AttemptId) -> bool:
        """Whether a process has claimed an attempt, as far as can be seen now."""
        try:
            return self.layout.journal(attempt).exists()
        except OSError:  # of a file server
            return False

    def note_end(self, attempt: AttemptId, pid: int | None, returncode: int, *, is_stopping: bool) -> bool:
        """Record how a run's process ended, if neither its own journal nor Slurm tells; whether it was warned.

        :param is_stopping: the task was asked to end, and all that it executes with it: Slurm tells why
        :return: it ended because its time limit is near
        """
        try:
            facts = [event.fact for event in read_attempt(self.layout, attempt)]
        except OSError as error:  # other runs in flight are not to die of it: Slurm's word will count
            say(f"how run {attempt.run} ended cannot be read: {error}")
            return False
        claimed = next((fact for fact in facts if isinstance(fact, AttemptClaimed)), None)
        is_ours = claimed is None or (claimed.host, claimed.pid) == (self._host, pid)
        if not is_ours or (claimed is None and self.has_begun(attempt)):
            return False  # another task was quicker; it makes the journal a moment before it says so there
        ended = next((fact for fact in facts if isinstance(fact, AttemptEnded)), None)
        if ended is not None and ended.signal == WARNING_SIGNAL:
            return True
        has_last_word = ended is not None and ended.ended_as is not AttemptOutcome.STOPPED
        if not has_last_word and not is_stopping:
            self._say([self._of_code(attempt, returncode)])
        return False

    def _of_code(self, attempt: AttemptId, code: int) -> JobObserved:
        if code == 0:
            return self._word(attempt, JobState.COMPLETED, exit_code=0)
        if code < 0:
            reason = f"its process was killed by {signal_name(-code)}"
            return self._word(attempt, JobState.FAILED, reason, number=-code)
        return self._word(attempt, JobState.FAILED, of_exit_code(code), exit_code=code)

    def _word(
        self,
        attempt: AttemptId,
        state: JobState,
        reason: str | None = None,
        *,
        number: int | None = None,
        exit_code: int | None = None,
    ) -> JobObserved:
        return JobObserved(
            submission=attempt.submission,
            run=attempt.run,
            restart=attempt.restart,
            state=state.value,
            witness=Witness.LOCAL.value,
            reason=reason,
            node=self._host,
            exit_code=exit_code,
            signal=number,
            end=utc_now(),
        )

    def _say(self, words: Collection[JobObserved]) -> None:
        try:
            with self._journal.locked():
                history = self._journal.history()
                news = [word for word in words if not self._ends(history, word.attempt)]
                self._journal.append(*attributed(news, history.requests))
        except (HpcorchError, OSError) as error:  # runs in flight are not to die of it: Slurm's word will count
            say(f"the ends of runs {format_ranges(word.run for word in words)} cannot be recorded: {error}")
        self._looked_at = 0.0


def _until(attempt: AttemptId) -> Iterator[AttemptId]:
    """The attempt, and those before it in its submission, of which somebody may have said that they are over."""
    return (replace(attempt, restart=restart) for restart in range(attempt.restart + 1))
