"""Checks of what a task passes to its run: a mistake is reported at the call that made it."""

from __future__ import annotations

import math
import operator
from typing import Any, SupportsIndex

from hpcorch.errors import UsageError
from hpcorch.model.values import is_nan

# SQLite, which the ledger is, has integers of 64 bits.
_MOST = (1 << 63) - 1


def step_number(step: SupportsIndex) -> int:
    """A step as a plain integer; NumPy's integers are welcome.

    :raises UsageError: it is none, is negative, or does not fit the ledger
    """
    try:
        number = operator.index(step)
    except TypeError:
        number = -1
    if not 0 <= number <= _MOST:
        raise UsageError(f"a step must be a whole number from 0 on, not {step!r}: count steps or epochs")
    return number


def check_schedule(*, every_steps: int | None, every_minutes: float | None, keep: int) -> None:
    """Refuse invalid arguments.

    :raises UsageError: a number is out of its range
    """
    if every_steps is not None and not _is_whole(every_steps):
        raise UsageError(f"every_steps must be a whole number of at least 1, not {every_steps!r}")
    if every_minutes is not None and not (_is_number(every_minutes) and every_minutes >= 0):
        raise UsageError(f"every_minutes must be a number of at least 0, not {every_minutes!r}")
    if not _is_whole(keep):
        raise UsageError(f"keep must be a whole number of at least 1, not {keep!r}: one checkpoint is always kept")


def metric(value: Any) -> float:
    """A metric's value as a float; an integer beyond all floats is infinite.

    :raises TypeError: it is no number
    :raises ValueError: likewise
    """
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{value!r} is text")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not is_nan(value)
