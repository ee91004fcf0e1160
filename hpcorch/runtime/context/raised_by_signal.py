"""Exceptions that handlers of signals raise, and that Python must not swallow.

A handler is called between two instructions of whatever is executed. In a destructor or the callback of a weak
reference, such as the import system has, Python prints an exception and goes on: the wish to end would be lost.
So the signal is sent to the process once more, when that code is over.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSE_S = 0.01  # the code that swallowed it is over by then; else it is sent again once more
_swallowed: set[int] = set()
_next_hook: Callable[[sys.UnraisableHookArgs], object] | None = None


class RaisedBySignal(BaseException):
    """The handler of a signal raised this.

    :ivar number: the signal
    """

    def __init__(self, number: int, *arguments: object) -> None:
        super().__init__(*arguments)
        self.number = number


class Interrupted(RaisedBySignal, KeyboardInterrupt):
    """Ctrl-C, in a command of ours."""


class Terminated(RaisedBySignal, SystemExit):
    """A helper process of ours is to end."""


def keep_from_being_swallowed() -> None:
    """From here on, a signal whose :class:`RaisedBySignal` Python swallows is sent to this process again."""
    global _next_hook
    if _next_hook is None:
        _next_hook, sys.unraisablehook = sys.unraisablehook, _see_to_unraisable


def take_swallowed(number: int) -> bool:
    """Whether this signal is one that is sent again, which its handler has seen already."""
    if number not in _swallowed:
        return False
    _swallowed.discard(number)
    return True


def raise_on_ctrl_c() -> None:
    """Have SIGINT raise a KeyboardInterrupt that is not swallowed, where it is not ignored. Main thread only."""

    def interrupt(number: int, _frame: object) -> None:
        take_swallowed(number)
        raise Interrupted(number)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        keep_from_being_swallowed()
        signal.signal(signal.SIGINT, interrupt)


def _see_to_unraisable(found: sys.UnraisableHookArgs) -> None:
    error = found.exc_value
    if isinstance(error, RaisedBySignal):
        _swallowed.add(error.number)
        with suppress(RuntimeError):  # the interpreter ends anyway
            _thread.start_new_thread(_send_later, (error.number,))
    elif _next_hook is not None:
        _next_hook(found)


def _send_later(number: int) -> None:
    time.sleep(_PAUSE_S)
    signal.pthread_kill(threading.main_thread().ident or 0, number)  # what blocks there is interrupted, too
