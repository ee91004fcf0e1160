"""What a local pool records of its tasks' processes: how they ended, and that they stay when their work is over."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Collection, Mapping

from hpcorch import tunables
from hpcorch.model.events import JobObserved
from hpcorch.model.job_states import JobState
from hpcorch.model.processes import EXIT_SIGNAL_BASE, signal_name
from hpcorch.services.local.journal import PoolRecord
from hpcorch.services.local.task import LocalTask

_log = logging.getLogger(__name__)


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
            return word(index, JobState.FAILED, _of_exit_code(code), exit_code=code)
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


def _of_exit_code(code: int) -> str:
    """What an exit code says; a run that was stopped ends with 128 and the signal, as a shell reports it."""
    if code - EXIT_SIGNAL_BASE in {number.value for number in signal.Signals}:
        name = signal_name(code - EXIT_SIGNAL_BASE)
        return f"stopped by {name}; `hpcorch retry` goes on from the last checkpoint, if there is one"
    return f"the process ended with exit code {code}"
