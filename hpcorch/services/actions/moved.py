"""Noting in the ledger where sweep directories are that were moved."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hpcorch.errors import NotFoundError, RecordError, UsageError
from hpcorch.journal.layout import moved
from hpcorch.journal.reader import locate
from hpcorch.ledger import Ledger, SweepSummary, find_record
from hpcorch.ledger.reading.directories import project_moved, recorded_moves
from hpcorch.services.recording.moves import record_move


def note_moved(writer: Ledger, old: Path, new: Path) -> list[str]:
    """Note that a folder was moved, for every sweep of which the record is found that way and is not found now.

    :param writer: open for writing
    :param old: where it was: as the ledger has it, or, in a project that was moved, below its folder now
    :param new: where it is
    :return: the ids of these sweeps, the latest first
    :raises UsageError: the new place is no folder
    :raises NotFoundError: there is no such sweep
    """
    old, new = (Path(os.path.abspath(path)) for path in (old, new))  # noqa: PTH100 - a link is not followed
    if not new.is_dir():
        raise UsageError(f"{new} is not a folder: first say where the sweep directories were, then where they are")
    found = {
        summary.sweep.id: was
        for summary in writer.sweeps()
        for was in _names_of(writer, summary, old)
        if _is_found_so(writer, summary, was, new)
    }
    if not found:
        raise NotFoundError(
            f"no sweep of {writer.path} was in {old}, is not found any more, and has its record at the same place"
            f" in {new}: `hpcorch ls` says of which sweeps the directory is gone, and `hpcorch status SWEEP` where"
            " it was"
        )
    for sweep, was in found.items():
        record_move(writer, sweep, was, new)
    return list(found)


def _names_of(ledger: Ledger, summary: SweepSummary, folder: Path) -> Iterator[Path]:
    """The paths of a folder: as it is told, and as it was when the sweep was recorded, if the project was moved."""
    yield folder
    project = project_moved(ledger, summary.sweep)
    if project is not None and folder.is_relative_to(project[1]):
        yield moved(folder, ((project[1], project[0]),))


def _is_found_so(ledger: Ledger, summary: SweepSummary, old: Path, new: Path) -> bool:
    """Whether the move explains why a sweep's record is not where the ledger looks for it."""
    sweep = summary.sweep
    was = moved(Path(sweep.directory), recorded_moves(ledger, sweep.id))
    if not was.is_relative_to(old):
        return False
    try:
        find_record(ledger, sweep)
    except RecordError:
        pass
    except OSError:
        return False
    else:
        return False
    try:
        locate(new / was.relative_to(old), sweep.id)
    except (RecordError, OSError):
        return False
    return True
