"""What a local pool writes to the control journal: its submission, and what it sees of its tasks' processes."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from hpcorch import tunables
from hpcorch.journal.control import ControlJournal
from hpcorch.model.events import AttemptEnded, JobObserved
from hpcorch.model.ids import AttemptId, utc_now
from hpcorch.model.job_states import JobState, Witness
from hpcorch.model.processes import EXIT_SIGNAL_BASE, signal_name
from hpcorch.model.states import Backend
from hpcorch.runtime.context.claim import read_attempt
from hpcorch.services.local.processes import pool_id
from hpcorch.services.local.task import LocalTask
from hpcorch.services.observation.conclusions import attributed, cancelled_runs
from hpcorch.services.recording.submissions import Intent, SubmissionRecord

_log = logging.getLogger(__name__)


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
        try:
            requests = self.journal.history().requests  # mostly none
        except OSError:  # such as a sweep directory that was deleted: the task will say so
            return False
        return bool(requests) and self.runs[task] in cancelled_runs(requests, self.number)

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
                requests = self.journal.history().requests
                self.journal.append(*(attributed(words, requests) if requests else words))


class LastWords:
    """Records the ends of one pool's tasks. Where a task's own journal has a last word, that one counts."""

    def __init__(self, record: PoolRecord) -> None:
        self._record = record
        self._lingering: set[int] = set()
        self._read: dict[int, int] = {}  # task -> how long its journal was when it had no end
        self._next_look = 0.0  # by the monotonic clock

    def record(self, ended: Mapping[int, LocalTask], running: Collection[int]) -> None:
        """Record what those died of that ended without a word, and now and then who stays.

        :param ended: tasks whose process has ended, each recorded once
        :param running: the other tasks
        """
        self._record.append([word for index, task in ended.items() if (word := self._last_word(index, task))])
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + tunables.JOB_STAYS_S
            self._note_lingering([index for index in running if index not in self._lingering])

    def _last_word(self, index: int, task: LocalTask) -> JobObserved | None:
        code = task.process.returncode
        word = self._record.word
        if task.timed_out:
            return word(index, JobState.TIMEOUT, "it reached hydra.launcher.timeout_min")
        if code < 0:
            return word(index, JobState.FAILED, f"the process was killed by {signal_name(-code)}", -code)
        if code:
            return word(index, JobState.FAILED, of_exit_code(code), exit_code=code)
        if self._record.has_end(index) and index not in self._lingering:
            return None
        return word(index, JobState.COMPLETED, exit_code=code)

    def _note_lingering(self, running: Collection[int]) -> None:
        stay = [index for index in running if self._stays(index)]
        self._lingering.update(stay)
        self._record.append([self._record.word(index, JobState.LINGERING) for index in stay])
        for index in stay:
            name = self._record.name(index)
            _log.warning("Run %s is over, and its process still runs: `hpcorch cancel %s` ends it", name, name)

    def _stays(self, index: int) -> bool:
        """Whether the work of a task is over for a while. A journal that is still written to is not read."""
        size, age_s = self._record.written(index)
        if age_s < tunables.JOB_STAYS_S or size == self._read.get(index):
            return False
        self._read[index] = size
        return self._record.has_end(index)


def of_exit_code(code: int) -> str:
    """What an exit code says; a run that was stopped ends with 128 and the signal, as a shell reports it."""
    if code - EXIT_SIGNAL_BASE in {number.value for number in signal.Signals}:
        name = signal_name(code - EXIT_SIGNAL_BASE)
        return f"stopped by {name}; `hpcorch retry` goes on from the last checkpoint, if there is one"
    return f"the process ended with exit code {code}"
