"""The one owner of signals in a run.

SIGTERM means preemption, scancel, a node going down or a memory limit, and the process cannot know which: the
handler only unwinds the task, and why it was stopped is settled afterwards from what Slurm says. SIGUSR1 is
the warning before the time limit (``--signal=B:USR1@N``); its default action would kill the process.
"""

from __future__ import annotations

import signal
from types import FrameType


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

    def install(self) -> None:
        """Take over SIGTERM, SIGINT and SIGUSR1. Main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGUSR1, self._warn)

    def ignore_stops(self) -> None:
        """From here on stopping signals are only remembered: the end is being recorded."""
        self._stopping = True

    def _warn(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(signal.Signals(number).name)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        self.received.append(name)
        if not self._stopping:
            self._stopping = True
            raise Stopped(name)
