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
    """A command of a user's batch script is over. The result is what it wrote as JSON, if it was asked to."""

    kind = "command-ended"
    step: int
    exit_code: int  # as a shell has it: 128 and the number of a signal that ended it
    signal: str | None = None
    seconds: float = 0.0
    result: Any = None
    problem: str | None = None  # why it was not started, or why there is no result though it was to write one
