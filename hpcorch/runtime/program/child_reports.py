"""What Python processes that a job starts have executed of the live tree: they write it, and the job records it.

Only the job writes the attempt's journal. The reports go into a file in memory, which processes of the same user on
the same node open through ``/proc``; nothing is left of it when the job is over.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress

from hpcorch.quick_dataclasses import dataclass

MODULE = "module"
SCRIPT = "script"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildReport:
    """Live code that a process has executed.

    :param kind: ``module`` or ``script``
    :param name: of the module, or of the script as it was called
    :param frozen: digest of the frozen script; None if the snapshot has none, and of a module
    :param found: digest of the script that was executed, or the module's file
    """

    kind: str
    name: str
    frozen: str | None
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildReports:
    """The reports of one job.

    :param descriptor: of the file; None where there is no such file, so that nobody reports
    """

    descriptor: int | None

    @classmethod
    def open(cls) -> ChildReports:
        """No reports yet."""
        try:
            return cls(descriptor=os.memfd_create("hpcorch"))
        except (AttributeError, OSError):
            return cls(descriptor=None)

    @property
    def path(self) -> str:
        """Where :func:`report` opens the file; empty if it cannot."""
        return "" if self.descriptor is None else f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def read(self) -> list[ChildReport]:
        """All reports so far; none if the program has closed the file."""
        if self.descriptor is None:
            return []
        try:
            text = os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)
            return [ChildReport(**json.loads(line)) for line in text.splitlines()]
        except (OSError, ValueError, TypeError):  # the descriptor is another file of the program's by now
            return []


def report(path: str, told: ChildReport) -> None:
    """Report to the job, if it still runs."""
    line = json.dumps({"kind": told.kind, "name": told.name, "frozen": told.frozen, "found": told.found})
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)
