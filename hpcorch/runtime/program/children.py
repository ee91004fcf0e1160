"""Python processes that a job starts: they import the project's modules from the snapshot, as the job does.

The job tells them (:func:`hpcorch.runtime.program.snapshot.tell_children`). A process that does not read its
environment, such as ``python -I``, imports from the live tree.
"""

from __future__ import annotations

import hashlib
import json
import sys
from functools import partial
from pathlib import Path

from hpcorch.provenance.code.import_paths import Move
from hpcorch.runtime.context.output import say
from hpcorch.runtime.program.calling_program import parse_command_line
from hpcorch.runtime.program.child_reports import MODULE, SCRIPT, ChildReport, report
from hpcorch.runtime.program.frozen_imports import FrozenFinder, enter


def enter_child(told: str) -> None:
    """Import from the snapshot in this process. To be called as soon as Python starts."""
    place = json.loads(told)
    move = Move.of(Path(place["root"]), Path(place["tree"]))
    if move.tree.is_dir():  # the job holds it, and may be over
        tell = partial(_tell_module, place["reports"])
        _look_at_script(enter(move, Path.cwd(), tell), place["reports"])


def _tell_module(reports: str, name: str, file: str) -> None:
    say(f"the module {name} is not in the snapshot of the code and comes from the live file {file}")
    report(reports, ChildReport(kind=MODULE, name=name, frozen=None, found=file))


def _look_at_script(finder: FrozenFinder, reports: str) -> None:
    """Tell of a script that Python has opened itself, and that is not as it was frozen."""
    file = parse_command_line(sys.orig_argv).file
    if file is None or not file.endswith(".py") or finder.frozen(file) == file:
        return
    frozen, found = _digest(Path(finder.frozen(file))), _digest(Path(file))
    if found is None or frozen == found:
        return
    what = "was changed after submission" if frozen is not None else "is not in the snapshot of the code"
    say(f"{file} {what}, and this process executes it as it is now")
    report(reports, ChildReport(kind=SCRIPT, name=file, frozen=frozen, found=found))


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
