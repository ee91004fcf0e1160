"""Which ledger and site profile serve a folder: this user's own, found by walking up as git finds a checkout."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from hpcorch.journal.layout import (
    LEDGER_NAME,
    LEDGER_VARIABLE,
    SITE_NAME,
    SITE_VARIABLE,
    STATE_DIR,
    inbox_folder,
)
from hpcorch.users import stranger

_log = logging.getLogger(__name__)


def find_ledger(start: Path) -> Path | None:
    """The ledger that serves ``start``: $HPCORCH_LEDGER, else the nearest one walking up; None if neither is.

    One that has sweeps to take over and no file yet counts. Another user's does not, and one in a folder that
    everybody writes to, such as ``/tmp``, serves that folder alone.
    """
    named = os.environ.get(LEDGER_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    for folder in around(start):
        candidate = folder / STATE_DIR / LEDGER_NAME
        if may_serve(folder) and (candidate.exists() or inbox_folder(candidate).is_dir()):
            return candidate
    return None


def default_ledger(start: Path) -> Path:
    """Where the ledger that serves ``start`` is or would be made.

    That is at the root of the git checkout or beside a project's own site profile, whichever is nearer walking up,
    else at ``start``.
    """
    found = find_ledger(start)
    if found is not None:
        return found
    marks = (".git", f"{STATE_DIR}/{SITE_NAME}")
    folders = (folder for folder in around(start) if may_serve(folder))
    root = next((folder for folder in folders if any((folder / mark).exists() for mark in marks)), start)
    return root / STATE_DIR / LEDGER_NAME


def around(start: Path) -> Iterator[Path]:
    """A folder, and those above it whose ledger, profile or checkout may be meant for it, the nearest first.

    What lies in a folder that everybody writes to is not meant for what others have below that.
    """
    yield start
    for folder in start.parents:
        if is_everybodys(folder):
            return
        yield folder


def is_everybodys(folder: Path) -> bool:
    """Whether everybody may write into a folder, and remove only what is theirs, as in ``/tmp``."""
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_ISVTX and mode & stat.S_IWOTH)


def may_serve(project: Path) -> bool:
    """Whether what ``.hpcorch`` of a folder holds may serve this user; one that is not there may.

    Another user's is passed over: its ledger and its site profile would decide what is submitted.
    """
    state = project / STATE_DIR
    owner = stranger(state)
    if owner is not None:
        _tell_passed_over(state, owner)
    return owner is None


@cache
def _tell_passed_over(state: Path, owner: str) -> None:
    _log.warning(
        "%s belongs to %s, so it is passed over: if you want to use its ledger, name it with --ledger or $%s, and"
        " its site profile with $%s",
        *(state, owner, LEDGER_VARIABLE, SITE_VARIABLE),
    )
