"""The one owner of signals in a run.

SIGTERM means preemption, scancel, a node going down or a memory limit, and the process cannot know which: the
handler only unwinds the task, and why it was stopped is settled afterwards from what Slurm says. SIGUSR1 is
the warning before the time limit (``--signal=B:USR1@N``); its default action would kill the process.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_PR_SET_PDEATHSIG = 1  # prctl(2)
WARNING_SIGNAL = signal.SIGUSR1.name
_STOPS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """Raised in the main thread by the first stopping signal.

    A BaseException, so that ``except Exception`` in user code lets it through and ``finally`` blocks run.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class SignalOwner:
    """Installs the handlers of a run and remembers what arrived.

    A stopping signal raises only inside of :meth:`stops_raise`, so that none interrupts the writing of a journal.
    Further ones are only remembered: raising twice would interrupt the clean-up of the first.

    :ivar stopped_by: the first stopping signal, once there was one
    """

    def __init__(self) -> None:
        self.received: list[str] = []
        self.stopped_by: str | None = None
        self._raises = False
        self._stop_on_warning = False

    def install(self) -> None:
        """Take over SIGTERM, SIGINT and SIGUSR1. Main thread only."""
        for number in _STOPS:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGUSR1, self._warn)
        # A signal to the new process waits until it has the handlers of any other process: one that arrived before
        # Python is ready there would be lost, and Pool.terminate() would wait for ever.
        os.register_at_fork(
            before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS),
            after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS),
            after_in_child=_give_up_signals,
        )

    @contextmanager
    def stops_raise(self) -> Iterator[None]:
        """Within the block the first stopping signal raises, also one that arrived before.

        :raises Stopped: it arrived
        """
        self._raises = True
        try:
            if self.stopped_by is not None:
                raise Stopped(self.stopped_by)
            yield
        finally:
            self._raises = False

    def stop_on_warning(self) -> None:
        """From here on the warning before the time limit stops the task: it will be requeued."""
        self._stop_on_warning = True

    def _warn(self, number: int, frame: FrameType | None) -> None:
        if self._stop_on_warning:
            self._stop(number, frame)
        else:
            self.received.append(signal.Signals(number).name)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        self.received.append(name)
        if self.stopped_by is None:
            self.stopped_by = name
            if self._raises:
                raise Stopped(name)


def _give_up_signals() -> None:
    """A process that the task forks dies of signals like any other.

    The warning before the time limit, which srun sends to every process, is not meant for it.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)


def end_with_parent() -> int:
    """Have the kernel send SIGTERM to this process when the thread that started it ends.

    For the tasks of a local pool: if the launching process is killed, nobody else would stop them.

    :return: the parent's pid
    """
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the kernel was asked
        os.kill(os.getpid(), signal.SIGTERM)
    return parent


def end_group_of_orphan(parent: int) -> None:
    """If the parent is gone, kill this process with all that it started: nobody is left to see to that.

    To be called last, by the leader of a process group.
    """
    if os.getppid() != parent and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
