"""The command line within this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcorch.cli.command_line import command


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class CommandLine:
    """``hpcorch`` within this process, which saves the start-up of a program."""

    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str | Path) -> Ran:
        self.capture.readouterr()
        with pytest.raises(SystemExit) as stop:
            command.main([str(argument) for argument in arguments], prog_name="hpcorch")
        captured = self.capture.readouterr()
        return Ran(code=int(stop.value.code or 0), out=captured.out, err=captured.err)
