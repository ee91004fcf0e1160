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


def read_reports(descriptor: int) -> list[ChildReport]:
    """All reports so far; none if the program has closed the file.

    :param descriptor: of the job's own file
    """
    try:
        text = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
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
