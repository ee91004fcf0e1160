"""Processes that stand still at one place of the program, as on a suspended machine, and go on later."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, TypeAlias

from tests.support import processes

_Line: TypeAlias = "tuple[CodeType, int]"


def stopping_at(place: int, parts: tuple[str, ...], work: Callable[[], object]) -> None:
    """Do work, and stop this process before the line that is the ``place``-th new one.

    A line is new if it was not executed before, or not when called from there.

    :param parts: of the program: what the paths of its files contain
    """
    seen: set[tuple[_Line, _Line]] = set()

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if not any(part in frame.f_code.co_filename for part in parts):
            return None
        if event == "line":
            caller = frame.f_back or frame
            line = ((frame.f_code, frame.f_lineno), (caller.f_code, caller.f_lineno))
            if line not in seen:
                seen.add(line)
                if len(seen) == place:
                    os.kill(os.getpid(), signal.SIGSTOP)
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)


def has_stopped(pid: int) -> bool:
    """Wait until a process stops or ends; whether it has stopped. Its exit code can still be asked for."""
    info = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return info is not None and info.si_code == os.CLD_STOPPED


def go_on(pid: int, *, for_s: float) -> None:
    """Let a stopped process go on, and return when it has ended, or after some seconds."""
    os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + for_s
    while processes.is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)


def places(first: int, step: int) -> Iterator[int]:
    """Each ``step``-th place of a program, without end."""
    while True:
        yield first
        first += step
