"""A task of a local pool: the process that executes one run, with all that it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from hpcorch import tunables
from hpcorch.journal.access import open_new
from hpcorch.quick_dataclasses import dataclass


class TaskProcess(Protocol):
    """The process of a task, as :class:`subprocess.Popen` has it."""

    @property
    def pid(self) -> int | Any | None:
        """None if there was none."""

    @property
    def returncode(self) -> int | Any:
        """As the last :meth:`poll` found it."""

    def poll(self) -> int | None:
        """Its exit code, or the negative number of the signal that killed it; None while it runs."""

    def wait(self) -> int:
        """Wait for its end."""


@dataclass(slots=True, kw_only=True)
class LocalTask:
    """A running task, which leads a session of its own, so that a signal reaches it with all that it starts.

    :param gpus: devices that are the task's until it has ended
    :param deadline: when the next, harder step to end it is due, by the monotonic clock; None for no limit
    :param lane: the number in the name of its log
    """

    process: TaskProcess
    gpus: Sequence[str]
    deadline: float | None
    lane: int
    timed_out: bool = False

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
        if self.process.pid is not None:
            signal_session(self.process.pid, number)

    def kill_left_overs(self) -> None:
        """No process outlives its run. The run has ended, so that its number may be another's, but no group's."""
        if self.process.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


def signal_session(leader: int, number: int) -> None:
    """Signal the leader of a session and all that it has started; if it has ended, nothing happens."""
    with suppress(ProcessLookupError):
        try:
            os.killpg(leader, number)
        except ProcessLookupError:
            os.kill(leader, number)  # it was forked just now, and is about to lead one


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


def start_process(argv: Sequence[str], *, environ: Mapping[str, str], output: int, error: int) -> TaskProcess:
    """Start the process of a task.

    :param output: descriptor of its standard output
    :param error: of its standard error
    :raises OSError: the program cannot be started
    """
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=output, stderr=error, env=environ, start_new_session=True
    )


@contextmanager
def output_files(output: Path, error: Path | None) -> Iterator[tuple[int, int]]:
    """Descriptors of a task's standard output and standard error, which are appended to these files.

    :param error: None for the file of the output
    :raises OSError: a file cannot be opened
    """
    with ExitStack() as files:
        stdout = files.enter_context(_appending(output))
        yield stdout, stdout if error is None else files.enter_context(_appending(error))


@contextmanager
def _appending(path: Path) -> Iterator[int]:
    descriptor = open_new(path, os.O_WRONLY | os.O_APPEND)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
