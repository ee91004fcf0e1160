"""Values as text for people. What comes from users, jobs or Slurm is data: nothing in it reaches the terminal as
a control sequence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hpcorch.model.ids import parse_time
from hpcorch.model.states import RunState
from hpcorch.model.value_text import printable, text_of
from hpcorch.slurm.sbatch.quoting import for_bash

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def shell_text(words: Iterable[str]) -> str:
    """A command line on one line of printable text, to be pasted into bash: the same words, byte for byte."""
    return " ".join(for_bash(word) if "\0" not in word else printable(word) for word in words)


def duration(seconds: float | None) -> str:
    """``0.4s``, ``12s``, ``3m05s``, ``2h03m``, ``3d04h``; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 10:  # tenths matter while there are few
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02d}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02d}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02d}h"


def ago(seconds: float | None) -> str:
    """How old something is that is known since then: ``now``, ``3m05s ago``, or ``never``."""
    if seconds is None:
        return "never"
    return "now" if seconds < 1 else f"{duration(seconds)} ago"


def local_time(text: str | None) -> str:
    """A recorded time on this machine's clock, to the second; nothing for None."""
    if text is None:
        return ""
    try:
        return parse_time(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return printable(text)


def counts_text(counts: Mapping[RunState, int]) -> str:
    """Counts as text: ``3 RUNNING, 9 COMPLETED``."""
    return ", ".join(f"{count} {state.value}" for state in RunState if (count := counts.get(state, 0)))


def value_text(value: Any) -> str:
    """A value on one line; text without quotation marks, nothing for None."""
    return "" if value is None else printable(text_of(value))
