"""Blocking signals from a program's start until it can handle them.

Python takes a part of a second to import what a program needs. A signal that arrives in that time would end it by
whatever Python makes of it: a traceback, a word of the command line's and exit code 1, or no record. So programs of
ours hold back what asks them to end before they import anything, and it arrives where it is seen to.
"""

from __future__ import annotations

import signal

_HELD = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})
_before: set[int] | None = None


def hold_signals() -> None:
    """Hold back the signals that ask a program to end. To be called first, by the main thread."""
    global _before  # noqa: PLW0603 - the mask of signals is the process's
    if _before is None:
        _before = set(signal.pthread_sigmask(signal.SIG_BLOCK, _HELD))


def release_signals() -> None:
    """Undo :func:`hold_signals`: what was held arrives at once. Harmless if nothing was."""
    global _before
    if _before is not None:
        before, _before = _before, None
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def signals_are_held() -> bool:
    """Whether :func:`hold_signals` is in force."""
    return _before is not None


def blocked_before() -> set[int]:
    """The signals that were blocked before any were held."""
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, [])) if _before is None else set(_before)
