"""Records of sweeps below a folder, found by a walk that passes over what holds none."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from hpcorch.errors import HpcorchError
from hpcorch.journal.files import is_there
from hpcorch.journal.layout import LEDGER_NAME, STATE_DIR, SweepLayout, scripts_folder
from hpcorch.journal.manifest import ManifestRun
from hpcorch.journal.manifest_file import read_entries
from hpcorch.quick_dataclasses import dataclass
from hpcorch.users import stranger

# Folders without sweeps of anybody, and with many files.
_PASSED_BY = frozenset({".git", ".hg", ".svn", STATE_DIR, "__pycache__", "node_modules", "site-packages"})
# A folder with one of these in it is an environment of installed packages.
_ENVIRONMENT = ("pyvenv.cfg", "conda-meta")


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """A folder or a record that was not taken in.

    :param reason: why, as a clause
    :param is_fault: whether something has to be put right before it can be
    """

    path: Path
    reason: str
    is_fault: bool = False


def find_records(folder: Path, ledger: Path, *, most: float = math.inf) -> Iterator[SweepLayout | PassedOver]:
    """The records below a folder, those set aside included, and what was passed over.

    Symbolic links are not followed, and the directories of runs, where programs write, are not entered. A folder
    that has a ledger of its own is another project.

    :param ledger: the file of the ledger that the records are for
    :param most: so many folders are entered, and no more
    """
    left, entered = [folder], 0
    runs: set[str] = set()
    while left:
        here = left.pop()
        entered += 1
        if entered > most:
            reason = f"it has more than {most} folders: name those that the sweeps are in"
            yield PassedOver(path=folder, reason=reason, is_fault=True)
            return
        try:
            names = _folders_in(here)
        except OSError as error:
            yield _closed(here, error, is_fault=here == folder)
            continue
        own = here / STATE_DIR / LEDGER_NAME
        entries = [here / name for name in names - _PASSED_BY]
        if STATE_DIR in names:
            try:
                is_project = is_there(own)
            except OSError as error:  # another user's
                yield _closed(own.parent, error)
                if here != folder:
                    continue
            else:
                if is_project and here != folder and own != ledger:
                    yield PassedOver(path=here, reason=f"it is a project with a ledger of its own, {own}")
                    continue
                records = _records_in(here)
                yield from records
                runs |= _run_directories(records)
                entries.append(scripts_folder(own))
        left += sorted((one for one in entries if str(one) not in runs and _may_hold_sweeps(one)), reverse=True)


def _closed(path: Path, error: OSError, *, is_fault: bool = False) -> PassedOver:
    whose = stranger(path)
    reason = f"it cannot be read ({error.strerror})" if whose is None else f"it belongs to {whose}"
    return PassedOver(path=path, reason=reason, is_fault=is_fault)


def _folders_in(folder: Path) -> set[str]:
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}


def _may_hold_sweeps(folder: Path) -> bool:
    if folder.name == "scripts" and folder.parent.name == STATE_DIR:
        return folder.is_dir() and not folder.is_symlink()
    return not any(os.path.lexists(folder / mark) for mark in _ENVIRONMENT)


def _records_in(directory: Path) -> list[SweepLayout]:
    layout = SweepLayout(directory)
    return [one for one in (layout, *layout.set_aside_records()) if os.path.lexists(one.control)]


def _run_directories(records: list[SweepLayout]) -> set[str]:
    """The directories of all runs of these sweeps, as far as their manifests can be read."""
    found: set[str] = set()
    for layout in records:
        for manifest in layout.state.glob("launch-*/manifest.jsonl"):
            try:
                found |= {one.directory for one in read_entries(manifest) if isinstance(one, ManifestRun)}
            except (HpcorchError, OSError, ValueError):
                continue  # taking the sweep in tells of it
    return found
