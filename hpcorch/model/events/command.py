"""The commands of a batch script, run by ``hpcorch exec``."""

from __future__ import annotations

from typing import Any

from hpcorch.model.events.base import Fact
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandStarted(Fact):
    """`hpcorch exec` started a command in a user's batch script: one step of the attempt."""

    kind = "command-started"
    step: int  # from 0 within the attempt
    argv: list[str]
    cwd: str
    host: str
    pid: int
    flags: list[str] | None = None  # of `hpcorch exec`


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEnded(Fact):
    """A command of a user's batch script is over. The result is the JSON that it wrote, if one was requested."""

    kind = "command-ended"
    step: int
    exit_code: int  # as in a shell: 128 plus the number of the signal that ended it
    signal: str | None = None
    seconds: float = 0.0
    result: Any = None
    problem: str | None = None  # why it did not start, or why the requested result is missing
