"""The one owner of signals in a run.

SIGTERM means preemption, scancel, a node going down or a memory limit, and the process cannot know which: the
handler only notes it or unwinds the task, and why it was stopped is settled afterwards from what Slurm says.
SIGUSR1 is the warning before the time limit (``--signal=B:USR1@N``); its default action would kill the process.
SIGUSR2 is our own: ``hpcorch cancel --checkpoint`` asks the task to save and to end.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hpcorch import tunables
from hpcorch.model.processes import EXIT_SIGNAL_BASE
from hpcorch.runtime.context.raised_by_signal import (
    RaisedBySignal,
    Terminated,
    keep_from_being_swallowed,
    take_swallowed,
)

_PR_SET_PDEATHSIG = 1  # prctl(2)
WARNING_SIGNAL = signal.SIGUSR1.name
ASKED_SIGNAL = signal.SIGUSR2.name
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
HANDLED = (*_STOPS, signal.SIGUSR1)
"""What the owner takes over."""
_PIPE_BYTES = 1 << 16  # what a pipe holds (pipe(7))


class Stopped(RaisedBySignal):
    """The run is to end: preempted, cancelled, near its time limit, or its node goes down.

    Raised in the main thread. It is a BaseException, so ``except Exception`` does not catch it, and ``finally``
    blocks run.

    :ivar name: the signal that asked for it
    """

    def __init__(self, name: str) -> None:
        super().__init__(signal.Signals[name], name)
        self.name = name


class SignalOwner:
    """Installs the handlers of a run and remembers what arrived.

    A stopping signal raises only inside of :meth:`stops_raise`, so that none interrupts the writing of a journal,
    and not inside of :meth:`deferred`. Further ones are only remembered: raising twice would interrupt the
    clean-up of the first.

    :ivar stopped_by: the first stopping signal, once there was one
    :ivar stopped_at: when it arrived, by the monotonic clock
    :ivar warned_at: when the warning before the time limit arrived, likewise
    """

    def __init__(self) -> None:
        self.received: list[str] = []
        self.stopped_by: str | None = None
        self.stopped_at: float | None = None
        self.warned_at: float | None = None
        self._raises = False
        self._deferred = 0
        self._due = False
        self._stop_on_warning = False
        self._handed_out = 0
        self._arrivals: int | None = None  # a pipe that has the number of each signal, whoever handles it

    def install(self) -> None:
        """Take over SIGTERM, SIGINT, SIGUSR1 and SIGUSR2. Main thread only."""
        keep_from_being_swallowed()
        for number in _STOPS:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGUSR1, self._warn)
        self._arrivals, told = os.pipe()
        os.set_blocking(self._arrivals, False)
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
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
        before, self._raises = self._raises, True
        try:
            if self.stopped_by is not None:
                raise Stopped(self.stopped_by)
            yield
        finally:
            self._raises = before

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block a stopping signal is only noted; one that would have raised does so at its end.

        :raises Stopped: it arrived
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # handlers run in the main thread alone
            return
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1
        if self._due and not self._deferred:
            self._due = False
            if self._raises and self.stopped_by is not None:
                raise Stopped(self.stopped_by)

    def only_note(self) -> None:
        """From here on a stopping signal does not raise: the task checks for it itself."""
        self._raises = False

    def stop_on_warning(self) -> None:
        """From here on the warning before the time limit stops the task, even one that arrived earlier."""
        self._stop_on_warning = True
        if self.warned_at is not None and self.stopped_by is None:
            self.stopped_by = WARNING_SIGNAL
            self.stopped_at = self.warned_at

    def look_for_stop(self) -> None:
        """Note a SIGTERM that a handler of the task's own took, as far as that is known, and take SIGTERM back.

        It is not known where an event loop of asyncio has it, or where tens of thousands of other signals came
        before. Slurm may send a second one, at which that handler must not end this process before its end is on
        record.
        """
        if self._arrivals is None:
            return
        signal.signal(signal.SIGTERM, self._stop)
        if self.stopped_by is not None:
            return
        try:
            arrived = os.read(self._arrivals, _PIPE_BYTES)
        except OSError:  # nothing arrived, or the task closed it
            return
        if signal.SIGTERM in arrived:
            self.received.append(signal.SIGTERM.name)
            self.stopped_by = signal.SIGTERM.name
            self.stopped_at = time.monotonic()

    def unrecorded(self) -> list[str]:
        """The signals that arrived since the last call."""
        names = self.received[self._handed_out :]
        self._handed_out += len(names)
        return names

    def _warn(self, number: int, frame: FrameType | None) -> None:
        self.warned_at = time.monotonic()
        if self._stop_on_warning:
            self._stop(number, frame)
        else:
            self.received.append(signal.Signals(number).name)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        is_again = take_swallowed(number)
        if not is_again:
            self.received.append(name)
        if is_again or self.stopped_by is None:
            self.stopped_by = self.stopped_by or name
            self.stopped_at = self.stopped_at or time.monotonic()
            if self._raises and self._deferred:
                self._due = True
            elif self._raises:
                raise Stopped(name)


def _give_up_signals() -> None:
    """A process that the task forks dies of signals like any other.

    The warning before the time limit and the wish to end, which Slurm may send to every process, are not for it.
    """
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)


def exit_on_termination() -> None:
    """Have SIGTERM end this process as :func:`sys.exit` does, so that temporary files are removed.

    For our own helpers; a run's process has a :class:`SignalOwner`.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        take_swallowed(number)
        raise Terminated(number, EXIT_SIGNAL_BASE + number)

    keep_from_being_swallowed()
    signal.signal(signal.SIGTERM, leave)


def end_with_parent(parent: int | None = None) -> int:
    """Have the kernel send SIGTERM to this process when the thread that started it ends.

    For the tasks of a local pool: if the launching process is killed, nobody else would stop them. A task that has
    not ended ORPHAN_GRACE_S after that signal is killed with all that it started. To be called when the handlers
    are installed.

    :param parent: its pid, where that is known; by default whoever is the parent now
    :return: the parent's pid
    """
    import ctypes  # the tasks of arrays do without

    parent = os.getppid() if parent is None else parent
    handler = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getppid() != parent:
            # Not of `threading`, whose lock the interrupted code may hold; and no thread before it is needed, since
            # Python warns a task that forks while there are several.
            _thread.start_new_thread(_end_orphan_later, (parent,))
        if callable(handler):
            handler(number, frame)

    signal.signal(signal.SIGTERM, stop)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the kernel was asked
        os.kill(os.getpid(), signal.SIGTERM)
    return parent


def _end_orphan_later(parent: int) -> None:
    time.sleep(tunables.LOCAL_GRACE_S)
    end_group_of_orphan(parent)


def end_group_of_orphan(parent: int) -> None:
    """If the parent is gone, kill this process and everything that it started.

    To be called last, by the leader of a process group.
    """
    if os.getppid() != parent and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
