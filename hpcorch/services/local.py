"""The local backend: slots of CPUs and GPUs on this machine, each running one task of the submission at a time.

The same runtime, manifest, journals and events as under Slurm. The pool lives in the launching process; its
id, ``host:pid:start``, tells anyone on the host whether it still does.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from hpcorch.errors import UnavailableError, UsageError
from hpcorch.journal.control import control_journal
from hpcorch.journal.layout import FILE_MODE, SweepLayout
from hpcorch.model.entities import Run, Submission
from hpcorch.model.events import (
    AttemptEnded,
    JobObserved,
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionReleased,
)
from hpcorch.model.ids import AttemptId, format_ranges, new_token, utc_now
from hpcorch.runtime.claim import read_attempt
from hpcorch.services.exports import script_exports
from hpcorch.services.logs import LogFiles
from hpcorch.services.past import read_past
from hpcorch.services.pools import pool_id, pool_is_gone
from hpcorch.services.requests import attributed, cancelled_runs

# Time for a task to unwind and record its end after SIGTERM; Slurm's KillWait is 30 s by default.
GRACE_S = 10.0
_EXIT_SIGNAL_BASE = 128
_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRequest:
    """Runs of one batch that a pool is to execute.

    :param slots: so many tasks run at once
    :param gpus: devices to deal out, as CUDA_VISIBLE_DEVICES names them
    :param gpus_per_task: devices that each task gets; it sees no others. None leaves the environment as it is
    :param timeout_s: seconds after which a task is stopped; None for no limit
    :param log_folder: where logs go instead of beside the journals
    :param wait_s: seconds before the first task starts
    """

    sweep: str
    batch: int
    runs: Sequence[int]
    slots: int
    gpus: Sequence[str] = ()
    gpus_per_task: int | None = None
    python: str = sys.executable
    environ: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    log_folder: str | None = None
    stderr_to_stdout: bool = True
    wait_s: float = 0.0


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived while the pool ran; its tasks have been stopped and recorded."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """The GPUs of this machine that may be used: CUDA_VISIBLE_DEVICES if set, else all NVIDIA devices."""
    named = environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip() and name.strip() != "-1"]
    return sorted((path.name[6:] for path in Path("/dev").glob("nvidia[0-9]*")), key=int)


def plan_slots(*, slots: int | None, cpus_per_task: int, gpus_per_task: int, gpus: Sequence[str], cpus: int) -> int:
    """How many tasks may run at once on this machine.

    :raises UsageError: not even one fits
    """
    if gpus_per_task > len(gpus):
        raise UsageError(
            f"each run asks for {gpus_per_task} GPU(s), and this machine offers {len(gpus)}: lower"
            " hydra.launcher.gpus_per_node, or run on a machine with more"
        )
    fit = max(1, cpus // cpus_per_task) if slots is None else slots
    return min(fit, len(gpus) // gpus_per_task) if gpus_per_task else fit


class LocalPool:
    """Executes one request to its end. Use once."""

    def __init__(self, layout: SweepLayout, request: LocalRequest) -> None:
        self.request = request
        self._layout = layout
        self._free_gpus = list(request.gpus)
        self._running: dict[int, _Task] = {}
        self._interrupted_by: int | None = None
        self._number = -1
        self._job_id = ""

    def run(self, tick: Callable[[], None]) -> None:
        """Run every task; returns when all have ended.

        :param tick: called often, in this thread, to take over and show progress
        :raises Interrupted: after an orderly stop on SIGINT or SIGTERM
        """
        self.record()
        waiting = list(range(len(self.request.runs)))
        begin = time.monotonic() + self.request.wait_s
        with self._signals():
            while (waiting or self._running) and self._interrupted_by is None:
                while waiting and len(self._running) < self.request.slots and time.monotonic() >= begin:
                    self._start_unless_cancelled(waiting.pop(0))
                time.sleep(_POLL_S)
                self._reap()
                with suppress(UnavailableError):  # that others hold the ledger for long is no reason to stop
                    tick()
            if self._interrupted_by is not None:
                self._stop(waiting)
                with suppress(UnavailableError):
                    tick()
                raise Interrupted(self._interrupted_by)

    def record(self) -> str:
        """Make the submission known: from now on its runs are this pool's. Done once; :meth:`run` does it too.

        :return: the pool's id
        """
        if self._job_id:
            return self._job_id
        request = self.request
        with control_journal(self._layout) as control:
            self._number = read_past(self._layout, request.sweep).next_submission
            self._job_id = pool_id(os.getpid())
            control.append(
                SubmissionIntended(
                    submission=self._number,
                    batch=request.batch,
                    runs=format_ranges(request.runs),
                    token=new_token(),
                    backend="local",
                    host=socket.gethostname(),
                    script="",
                )
            )
            control.append(SubmissionAccepted(submission=self._number, job_id=self._job_id))
            control.append(SubmissionReleased(submission=self._number), durable=True)
        return self._job_id

    def _start_unless_cancelled(self, index: int) -> None:
        requests = read_past(self._layout, self.request.sweep).requests
        if self.request.runs[index] in cancelled_runs(requests, self._number):
            self._observe([self._word(index, "CANCELLED", "cancelled while it waited")])
        else:
            self._start(index)

    def _start(self, index: int) -> None:
        gpus = [self._free_gpus.pop(0) for _ in range(self.request.gpus_per_task or 0)]
        logs = LogFiles(layout=self._layout, submission=self._number, folder=self.request.log_folder)
        output, error = logs.local(index)
        with ExitStack() as files:
            stdout = files.enter_context(_appending(output))
            process = subprocess.Popen(
                self._argv(index),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stdout if self.request.stderr_to_stdout else files.enter_context(_appending(error)),
                env=self._environment(gpus),
                start_new_session=True,  # a signal reaches the task with all that it started
            )
        self._running[index] = _Task(process=process, gpus=gpus, deadline=self._deadline())

    def _deadline(self) -> float | None:
        limit = self.request.timeout_s
        return None if limit is None else time.monotonic() + limit

    def _argv(self, index: int) -> list[str]:
        request = self.request
        return [
            request.python,
            "-u",
            "-m",
            "hpcorch.runtime",
            str(self._layout.directory),
            "--batch",
            str(request.batch),
            "--submission",
            str(self._number),
            "--runs",
            format_ranges(request.runs),
            "--task",
            str(index),
            "--job-id",
            self._job_id,
        ]

    def _environment(self, gpus: Sequence[str]) -> dict[str, str]:
        own = {} if self.request.gpus_per_task is None else {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}
        return {**self.request.environ, **script_exports(self.request.environ), **own}

    def _reap(self) -> None:
        """Take back the slots of tasks that ended, and record what those that died without a word died of."""
        ended = {index: task for index, task in self._running.items() if task.process.poll() is not None}
        for index, task in ended.items():
            del self._running[index]
            self._free_gpus.extend(task.gpus)
            task.kill_left_overs()
        self._observe([word for index, task in ended.items() if (word := self._last_word(index, task))])
        now = time.monotonic()
        for task in self._running.values():
            if task.deadline is not None and now >= task.deadline:
                task.end_for_timeout(now)

    def _last_word(self, index: int, task: _Task) -> JobObserved | None:
        """What to record of a task that ended badly. Where its own journal has a last word, that one counts."""
        code = task.process.returncode
        if task.timed_out:
            return self._word(index, "TIMEOUT", "it reached hydra.launcher.timeout_min")
        if code < 0:
            return self._word(index, "FAILED", f"the process was killed by {_signal_name(-code)}", -code)
        if code:
            return self._word(index, "FAILED", _of_exit_code(code), exit_code=code)
        if self._recorded_end(index):
            return None
        return self._word(index, "COMPLETED", "the process ended with exit code 0, and the run recorded no end")

    def _recorded_end(self, index: int) -> bool:
        attempt = AttemptId(run=self.request.runs[index], submission=self._number, restart=0)
        return any(isinstance(event.fact, AttemptEnded) for event in read_attempt(self._layout, attempt))

    def _stop(self, waiting: Sequence[int]) -> None:
        """Ask every task to stop, give it time to record its end, then kill; record what was not started."""
        for task in self._running.values():
            task.signal(signal.SIGTERM)
        stopped = list(self._running)
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline and any(t.process.poll() is None for t in self._running.values()):
            time.sleep(_POLL_S)
        for task in self._running.values():
            task.signal(signal.SIGKILL)
            task.process.wait()
        self._running.clear()
        reason = f"stopped by {_signal_name(self._interrupted_by or signal.SIGINT)}"
        self._observe([self._word(index, "CANCELLED", reason) for index in (*stopped, *waiting)])

    def _word(
        self, index: int, state: str, reason: str, number: int | None = None, *, exit_code: int | None = None
    ) -> JobObserved:
        return JobObserved(
            submission=self._number,
            run=self.request.runs[index],
            restart=0,
            state=state,
            witness="local",
            reason=reason,
            exit_code=exit_code,
            signal=number,
            end=utc_now(),
        )

    def _observe(self, facts: Sequence[JobObserved]) -> None:
        if facts:
            with control_journal(self._layout) as control:
                for fact in attributed(facts, read_past(self._layout, self.request.sweep).requests):
                    control.append(fact)

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


@contextmanager
def _appending(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, FILE_MODE)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass(slots=True, kw_only=True)
class _Task:
    """A running task. ``deadline`` is when the next, harder step to end it is due, by the monotonic clock."""

    process: subprocess.Popen[bytes]
    gpus: Sequence[str]
    deadline: float | None
    timed_out: bool = False

    def end_for_timeout(self, now: float) -> None:
        """Ask the task to stop; if it was asked a grace period ago, kill it."""
        self.signal(signal.SIGKILL if self.timed_out else signal.SIGTERM)
        self.timed_out = True
        self.deadline = now + GRACE_S

    def signal(self, number: int) -> None:
        """Signal the task and everything that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill_left_overs(self) -> None:
        """No process outlives its run."""
        self.signal(signal.SIGKILL)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _of_exit_code(code: int) -> str:
    """What an exit code says; a run that was stopped ends with 128 and the signal, as a shell reports it."""
    if code - _EXIT_SIGNAL_BASE in {number.value for number in signal.Signals}:
        name = _signal_name(code - _EXIT_SIGNAL_BASE)
        return f"stopped by {name}; `hpcorch retry` goes on from the last checkpoint, if there is one"
    return f"the process ended with exit code {code}"


def orphaned(submissions: Iterable[Submission], unfinished: Sequence[Run]) -> list[JobObserved]:
    """What became of unfinished runs whose local pool died without a word: their tasks were stopped with it."""
    now = utc_now()
    return [
        JobObserved(
            submission=submission.submission,
            run=run.run,
            restart=0,
            state="CANCELLED",
            witness="local",
            reason="the launching process ended before the run did",
            end=now,
        )
        for submission in submissions
        if submission.backend == "local" and submission.job_id and pool_is_gone(submission.job_id)
        for run in unfinished
        if run.submission == submission.submission
    ]
