"""The signals of a process that runs a command: blocked, taken one by one, passed on.

They are blocked and waited for, instead of handled: so none is lost or acted on twice, and the end of the command
is one of them. What the caller has ignored, as nohup does with SIGHUP, stays ignored by both.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.context.raised_by_signal import keep_from_being_swallowed, take_swallowed
from hpcorch.runtime.context.signals import Stopped
from hpcorch.runtime.context.startup_signals import blocked_before

# Those that ask a command to end. Others that are passed on mean what the command makes of them.
STOPS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_PASSED_ON = STOPS | {signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT, signal.SIGTSTP}
_LONG_S = 3600.0
_FROM_KERNEL = 0x80  # si_code of what a terminal sends to its whole foreground process group; sigaction(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A signal that was waited for.

    :param reached_both: the terminal sent it, to the command as well
    """

    number: signal.Signals
    reached_both: bool


class HeldSignals:
    """Holds the signals of this process back from now on. Main thread only, before any other thread starts.

    :ivar before: the signals that were blocked before, which are those of the command
    """

    def __init__(self) -> None:
        self.before = blocked_before()
        self._received: list[str] = []
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as some callers leave it, it keeps no exit code
        taken = {number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN}
        self._stops = taken & STOPS
        self._waited_for = taken | {signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, self._waited_for)

    def next(self, timeout_s: float | None) -> Arrived | None:
        """The next signal; None after so many seconds, or if something else woke the process."""
        found = signal.sigtimedwait(self._waited_for, _LONG_S if timeout_s is None else max(0.0, timeout_s))
        if found is None:
            return None
        return Arrived(number=signal.Signals(found.si_signo), reached_both=found.si_code == _FROM_KERNEL)

    @contextmanager
    def stops_raise(self) -> Iterator[None]:
        """Within the block a signal that asks to end raises, also one that arrived before.

        It may interrupt anything, also what suppresses errors or turns them into others: whatever becomes of the
        block then, it ends with the signal.

        :raises Stopped: it arrived
        """
        stop: Stopped | None = None

        def arrive(number: int, _frame: FrameType | None) -> None:
            nonlocal stop
            is_again = take_swallowed(number)
            raises = is_again or not self._received  # a second one must not interrupt what the first has begun
            name = signal.Signals(number).name
            if not is_again:
                self.received(name)
            if raises:
                stop = Stopped(name)
                raise stop

        keep_from_being_swallowed()
        handlers = {number: signal.signal(number, arrive) for number in self._stops}
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._stops)
            yield
        except BaseException as error:
            if stop is None or error is stop:
                raise
            raise stop from error
        finally:
            try:
                signal.pthread_sigmask(signal.SIG_BLOCK, self._stops)
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        if stop is not None:
            raise stop

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block, inside of :meth:`stops_raise`, none raises; one that would have does so at its end.

        :raises Stopped: it arrived
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._stops)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def received(self, name: str) -> None:
        """Remember a signal that may be why the command ends."""
        self._received.append(name)

    def unrecorded(self) -> list[str]:
        """The signals that were remembered since the last call."""
        names, self._received = self._received, []
        return names
