"""The one owner of signals in a run.

SIGTERM means preemption, scancel, a node going down or a memory limit, and the process cannot know which: the
handler only unwinds the task, and why it was stopped is settled afterwards from what Slurm says. SIGUSR1 is
the warning before the time limit (``--signal=B:USR1@N``); its default action would kill the process.
"""

from __future__ import annotations

import ctypes
import os
import signal
from types import FrameType

_PR_SET_PDEATHSIG = 1  # prctl(2)
WARNING_SIGNAL = signal.SIGUSR1.name


class Stopped(BaseException):
    """Raised in the main thread by the first stopping signal.

    A BaseException, so that ``except Exception`` in user code lets it through and ``finally`` blocks run.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class SignalOwner:
    """Installs the handlers of a run and remembers what arrived.

    Further stopping signals are only remembered: raising twice would interrupt the clean-up of the first.
    """

    def __init__(self) -> None:
        self.received: list[str] = []
        self._stopping = False
        self._stop_on_warning = False

    def install(self) -> None:
        """Take over SIGTERM, SIGINT and SIGUSR1. Main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGUSR1, self._warn)

    def stop_on_warning(self) -> None:
        """From here on the warning before the time limit stops the task: it will be requeued."""
        self._stop_on_warning = True

    def ignore_stops(self) -> None:
        """From here on stopping signals are only remembered: the end is being recorded."""
        self._stopping = True

    def _warn(self, number: int, frame: FrameType | None) -> None:
        if self._stop_on_warning:
            self._stop(number, frame)
        else:
            self.received.append(signal.Signals(number).name)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        self.received.append(name)
        if not self._stopping:
            self._stopping = True
            raise Stopped(name)


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when the thread that started it ends.

    For the tasks of a local pool: if the launching process is killed, nobody else would stop them.
    """
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the kernel was asked
        os.kill(os.getpid(), signal.SIGTERM)
