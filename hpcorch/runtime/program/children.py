"""Python processes that a job starts: they import the project's modules from the snapshot, as the job does.

The job tells them (:func:`hpcorch.runtime.program.snapshot.tell_children`). A process that does not read its
environment, such as ``python -I``, imports from the live tree.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hpcorch.provenance.code.import_paths import Move
from hpcorch.runtime.context.output import say
from hpcorch.runtime.program.frozen_imports import FrozenFinder, enter
from hpcorch.runtime.program.interpreter import parse_command_line


def enter_child(told: str) -> None:
    """Import from the snapshot in this process. To be called as soon as Python starts."""
    place = json.loads(told)
    move = Move.of(Path(place["root"]), Path(place["tree"]))
    if move.tree.is_dir():  # the job holds it, and may be over
        _look_at_script(enter(move, Path.cwd(), _tell))


def _tell(name: str, file: str) -> None:
    say(f"the module {name} is not in the snapshot of the code and comes from the live file {file}")


def _look_at_script(finder: FrozenFinder) -> None:
    """Tell of a script that Python has opened itself, and that is not as it was frozen."""
    file = parse_command_line(sys.orig_argv).file
    if file is None or not file.endswith(".py"):
        return
    frozen = Path(finder.frozen(file))
    try:
        differs = str(frozen) != file and frozen.read_bytes() != Path(file).read_bytes()
    except OSError:
        return
    if differs:
        say(f"{file} was changed after submission, and this process executes it as it is now")
