"""The command of `hpcorch exec`: starting it, passing signals on to it, and waiting for it."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from hpcorch import process, tunables
from hpcorch.model.processes import EXIT_SIGNAL_BASE, signal_name
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.context.held_signals import STOPS, Arrived, HeldSignals
from hpcorch.runtime.context.output import say

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as a shell reports what cannot be started


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds the life of a command.

    :param grace_s: seconds from a signal that asks it to end, if that is passed on, to SIGKILL; None for no bound
    :param warn_at: when it is sent SIGTERM since its job's time limit is near, by the wall clock; None for never
    :param kill_at: when it is killed if it has not ended then, likewise
    """

    grace_s: float | None = None
    warn_at: float | None = None
    kill_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended.

    :param exit_code: as a shell has it
    :param signal: that ended it
    :param asked_by: the first signal that asked it to end and may be why it did
    :param warned: whether it was asked since the time limit was near
    """

    exit_code: int
    seconds: float
    signal: str | None = None
    asked_by: str | None = None
    warned: bool = False


class Command:
    """A running command. Use once.

    :param look: called every few seconds beside it; None if there is nothing to look after
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        signals: HeldSignals,
        limits: Limits,
        look: Callable[[], None] | None = None,
    ) -> None:
        self._signals = signals
        self._grace_s = limits.grace_s
        self._warn_at = math.inf if limits.warn_at is None else limits.warn_at
        self._limit_at = math.inf if limits.kill_at is None else limits.kill_at
        self._kill_at = math.inf
        self._look = look
        self._asked: list[Arrived] = []
        self._warned = False
        self._may_suspend = False
        self._began = time.monotonic()
        self._child = process.foreground(argv, env=env, blocked=signals.before)

    @property
    def pid(self) -> int:
        return self._child.pid

    def wait(self) -> Ended:
        """Wait until it ends, and pass signals on until then."""
        while self._child.poll() is None:
            arrived = self._signals.next(self._pause_s())
            if arrived is not None and arrived.number is not signal.SIGCHLD:
                self._pass_on(arrived)
            self._suspend_with_it()
            self._mind_the_time()
        self._note_late_stops()
        code = self._child.returncode
        return Ended(
            exit_code=EXIT_SIGNAL_BASE - code if code < 0 else code,
            seconds=time.monotonic() - self._began,
            signal=signal_name(-code) if code < 0 else None,
            asked_by=self._asked_by(code),
            warned=self._warned,
        )

    def _note_late_stops(self) -> None:
        """What reached the command at once with this process may have ended it before it was looked for here."""
        while (arrived := self._signals.next(0)) is not None:
            if arrived.number in STOPS:
                self._asked.append(arrived)

    def _asked_by(self, code: int) -> str | None:
        """A terminal's signal is everyday business of an interactive program, unless the program ended by it."""
        ended_by = {-code, code - EXIT_SIGNAL_BASE}
        found = (one for one in self._asked if not one.reached_both or one.number in ended_by)
        return next((one.number.name for one in found), None)

    def _pause_s(self) -> float | None:
        due = min(self._warn_at, self._kill_at) - time.time()
        if self._look is not None:
            due = min(due, tunables.COMMAND_LEASE_POLL_S)
        return None if due == math.inf else max(0.0, due)

    def _pass_on(self, arrived: Arrived) -> None:
        if arrived.number in STOPS:
            self._asked.append(arrived)
        if not arrived.reached_both:
            self._send(arrived.number)
            if arrived.number in STOPS and self._grace_s is not None:
                self._kill_at = min(self._kill_at, time.time() + self._grace_s)
        if arrived.number in (signal.SIGTSTP, signal.SIGCONT):
            self._may_suspend = arrived.number is signal.SIGTSTP

    def _suspend_with_it(self) -> None:
        """Stop when the command has stopped at a SIGTSTP, so that who waits for this process sees it stopped.

        It need not: programs handle that signal, and the kernel keeps it from those that no shell would continue.
        """
        if not self._may_suspend:
            return
        with suppress(ChildProcessError):  # it has ended
            if os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG) is not None:
                self._may_suspend = False
                os.kill(os.getpid(), signal.SIGSTOP)

    def _mind_the_time(self) -> None:
        if self._look is not None:
            self._look()
        now = time.time()
        if now >= self._warn_at:
            self._warn_at = math.inf
            self._warned = True
            say("the time limit of the job is near: the command is sent SIGTERM")
            self._send(signal.SIGTERM)
            self._kill_at = min(self._kill_at, self._limit_at)
        if now >= self._kill_at:
            self._kill_at = math.inf
            say("the command did not end in time after the signal, and is killed")
            self._kill()

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self._child.send_signal(number)

    def _kill(self) -> None:
        """Kill it with all that it started."""
        self._send(signal.SIGSTOP)  # it starts nothing more
        below = _descendants(self._child)
        self._send(signal.SIGKILL)
        for pid in below:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _descendants(child: subprocess.Popen[bytes]) -> list[int]:
    import psutil  # few commands need this

    try:
        return [one.pid for one in psutil.Process(child.pid).children(recursive=True)]
    except psutil.Error:
        return []
