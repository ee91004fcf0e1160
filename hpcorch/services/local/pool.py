"""The local backend: slots of CPUs and GPUs on this machine, each running one task of the submission at a time.

The same runtime, manifest, journals and events as under Slurm. The pool lives in the launching process; its
id, ``host:pid:start``, tells anyone on the host whether it still does.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from types import FrameType
from typing import Any

from hpcorch import tunables
from hpcorch.errors import RecordError, UnavailableError
from hpcorch.journal.control import ControlJournal
from hpcorch.model.job_states import JobState
from hpcorch.model.processes import EXIT_SIGNAL_BASE, signal_name
from hpcorch.services.local.journal import LastWords, PoolRecord
from hpcorch.services.local.request import LocalRequest
from hpcorch.services.local.starting import Starter
from hpcorch.services.local.task import LocalTask, stop_tasks
from hpcorch.slurm.job_environment import script_exports

# What submitit's local executor tells its one task, so that submitit.JobEnvironment() works in the user's code.
_SUBMITIT = {
    "SUBMITIT_EXECUTOR": "local",
    "SUBMITIT_LOCAL_NTASKS": "1",
    "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
    "SUBMITIT_LOCAL_NODEID": "0",
    "SUBMITIT_LOCAL_GLOBALID": "0",
    "SUBMITIT_LOCAL_LOCALID": "0",
}


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived while the pool ran; its tasks have been stopped and recorded.

    :ivar only_processes: `hpcorch cancel` asked for it when all runs of the pool were over, and ended processes of
        theirs that stayed
    """

    def __init__(self, signal_number: int, *, only_processes: bool) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = EXIT_SIGNAL_BASE + signal_number
        self.only_processes = only_processes


class LocalPool:
    """Executes one request to its end. Use once; :meth:`submit` makes it."""

    def __init__(self, request: LocalRequest, record: PoolRecord) -> None:
        self.request = request
        environ = {**request.environ, **script_exports(request.environ), **_SUBMITIT}
        self._starter = Starter(
            replace(request, environ=environ), record.journal.layout, submission=record.number, pool=record.job_id
        )
        self._record = record
        self._free_gpus = list(request.gpus)
        self._running: dict[int, LocalTask] = {}
        self._last_words = LastWords(record)
        self._interrupted_by: int | None = None

    @classmethod
    def submit(cls, journal: ControlJournal, request: LocalRequest) -> LocalPool:
        """A pool in this process, with its submission on record: from now on the runs are its own.

        :raises OSError: it cannot be recorded
        :raises UnavailableError: another process is busy with the sweep
        """
        return cls(request, PoolRecord.submit(journal, launch=request.launch, runs=request.runs))

    @property
    def id(self) -> str:
        """What tells this pool from all others."""
        return self._record.job_id

    def run(self, tick: Callable[[], None]) -> None:
        """Run every task; returns when all have ended.

        :param tick: called often, in this thread, to take over and show progress
        :raises Interrupted: after an orderly stop on SIGINT or SIGTERM
        """
        waiting = list(range(len(self.request.runs)))
        begin = time.monotonic() + self.request.wait_s
        tick = _without_trouble(tick)
        often = _kept_short(tick)
        with self._signals(), closing(self._starter):
            while (waiting or self._running) and self._interrupted_by is None:
                while waiting and time.monotonic() >= begin and self._may_start(waiting[0]):
                    self._start_unless_cancelled(waiting.pop(0))
                self._starter.pause()
                self._reap()
                often()
            if self._interrupted_by is not None:
                only_processes = self._is_asked_for_processes(waiting)
                self._stop(waiting)
                tick()
                raise Interrupted(self._interrupted_by, only_processes=only_processes)

    def _is_asked_for_processes(self, waiting: Sequence[int]) -> bool:
        """Whether the runs are over, and the signal is for processes of theirs that stay."""
        cancelled = [index for index in range(len(self.request.runs)) if self._record.is_cancelled(index)]
        running = [index for index in self._running if index in cancelled and self._record.has_end(index)]
        asked = self._interrupted_by == signal.SIGTERM and bool(cancelled)
        return asked and not waiting and len(running) == len(self._running)

    def _start_unless_cancelled(self, index: int) -> None:
        if self._record.is_cancelled(index):
            self._record.append([self._record.word(index, JobState.CANCELLED, "cancelled while it waited")])
            return
        if not self._has_started(index):
            return
        if self._record.is_cancelled(index):  # since, by somebody who may have looked before there was a process
            self._running[index].signal(signal.SIGTERM)

    def _may_start(self, index: int) -> bool:
        """Whether a task may start beside those that run, of which the first always may, and can be started now."""
        return self._has_room(index) and self._starter.is_ready()

    def _has_room(self, index: int) -> bool:
        if not self._running:
            return True
        request, terms = self.request, self.request.terms_of(index)
        cpus = terms.cpus + sum(request.terms_of(other).cpus for other in self._running)
        return (
            len(self._running) < request.slots
            and (request.cpus is None or cpus <= request.cpus)
            and (terms.gpus or 0) <= len(self._free_gpus)
        )

    def _has_started(self, index: int) -> bool:
        """Start a task. One that cannot be started fails, and others may be tried: a process may end meanwhile."""
        count = self.request.terms_of(index).gpus or 0
        gpus, lanes = self._free_gpus[:count], {task.lane for task in self._running.values()}
        try:
            environ = {"SUBMITIT_LOCAL_JOB_ID": f"{self.id}_{index}"}
            self._running[index] = self._starter.start(index, gpus, lanes, environ=environ)
        except OSError as error:
            reason = f"it could not be started ({error.strerror or error})"
            self._record.append([self._record.word(index, JobState.FAILED, reason)])
            return False
        del self._free_gpus[:count]
        return True

    def _reap(self) -> None:
        """Take back the slots of tasks that ended, and record what those that died without a word died of."""
        ended = {index: task for index, task in self._running.items() if task.has_ended}
        for index, task in ended.items():
            del self._running[index]
            self._free_gpus.extend(task.gpus)
            task.kill_left_overs()
        self._last_words.record(ended, self._running)
        now = time.monotonic()
        for task in self._running.values():
            if task.deadline is not None and now >= task.deadline:
                task.end_for_timeout(now)

    def _stop(self, waiting: Sequence[int]) -> None:
        """Stop every task, and record what was stopped and what was not started."""
        stopped = list(self._running)
        stop_tasks(self._running.values())
        self._running.clear()
        reason = f"stopped by {signal_name(self._interrupted_by or signal.SIGINT)}"
        self._record.append(
            [self._record.word(index, JobState.CANCELLED, reason) for index in (*stopped, *waiting)]
        )

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM only set a mark while the pool runs; the loop acts on it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def mark(number: int, _frame: FrameType | None) -> None:
            self._interrupted_by = number

        before: dict[int, Any] = {n: signal.signal(n, mark) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _without_trouble(tick: Callable[[], None]) -> Callable[[], None]:
    """That others hold the ledger for long, or that a journal was deleted, is no reason to stop."""

    def call() -> None:
        with suppress(UnavailableError, RecordError):
            tick()

    return call


def _kept_short(tick: Callable[[], None]) -> Callable[[], None]:
    """What is called so often that it takes a tenth of the time at most: tasks end in milliseconds, or in days."""
    next_at = 0.0

    def call() -> None:
        nonlocal next_at
        begin = time.monotonic()
        if begin < next_at:
            return
        tick()
        end = time.monotonic()
        next_at = end + tunables.LOCAL_TICK_PAUSES * (end - begin)

    return call
