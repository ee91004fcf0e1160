"""A task of a local pool: the process that executes one run, with all that it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from hpcorch import tunables
from hpcorch.journal.access import open_new
from hpcorch.quick_dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class LocalTask:
    """A running task. ``deadline`` is when the next, harder step to end it is due, by the monotonic clock."""

    process: subprocess.Popen[bytes]
    gpus: Sequence[str]
    deadline: float | None
    timed_out: bool = False

    @classmethod
    def start(
        cls,
        argv: Sequence[str],
        *,
        environ: Mapping[str, str],
        gpus: Sequence[str],
        output: Path,
        error: Path | None,
        timeout_s: float | None,
    ) -> LocalTask:
        """Start a task in a session of its own, so that a signal reaches it with all that it starts.

        :param gpus: devices that are the task's until it has ended
        :param output: its standard output is appended to this file
        :param error: so is its standard error to this one; None for that of the output
        :param timeout_s: seconds after which it is to be stopped; None for no limit
        :raises OSError: a log cannot be opened, or the program cannot be started
        """
        with ExitStack() as files:
            stdout = files.enter_context(_appending(output))
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stdout if error is None else files.enter_context(_appending(error)),
                env=environ,
                start_new_session=True,
            )
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        return cls(process=process, gpus=gpus, deadline=deadline)

    @property
    def has_ended(self) -> bool:
        """Whether the task's own process has; what it started may live on."""
        return self.process.poll() is not None

    def end_for_timeout(self, now: float) -> None:
        """Ask the task to stop; if it was asked a grace period ago, kill it."""
        self.signal(signal.SIGKILL if self.timed_out else signal.SIGTERM)
        self.timed_out = True
        self.deadline = now + tunables.LOCAL_GRACE_S

    def signal(self, number: int) -> None:
        """Signal the task and everything that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill_left_overs(self) -> None:
        """No process outlives its run."""
        self.signal(signal.SIGKILL)


def stop_tasks(tasks: Collection[LocalTask]) -> None:
    """Ask every task to stop, give it time to record its end, then kill. All have ended when this returns."""
    for task in tasks:
        task.signal(signal.SIGTERM)
    deadline = time.monotonic() + tunables.LOCAL_GRACE_S
    while time.monotonic() < deadline and not all(task.has_ended for task in tasks):
        time.sleep(tunables.LOCAL_POLL_S)
    for task in tasks:
        task.signal(signal.SIGKILL)
        task.process.wait()


@contextmanager
def _appending(path: Path) -> Iterator[int]:
    descriptor = open_new(path, os.O_WRONLY | os.O_APPEND)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
