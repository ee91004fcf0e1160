"""Which ledger and site profile serve a folder: this user's own, found by walking up as git finds a checkout.

A ledger for a folder that is not this user's to write to lies in ``~/.local/share/hpcorch/projects``.

A folder that somebody else has made serves nobody unasked. Where a group shares one, each member says once, with
``hpcorch init --group``, that this one is meant: it is noted in the member's own configuration, as git notes
``safe.directory``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from hpcorch.errors import ForeignFileError
from hpcorch.journal.access import access_of, make_folder
from hpcorch.journal.files import is_there, read_regular, write_whole
from hpcorch.journal.layout import (
    LEDGER_NAME,
    LEDGER_VARIABLE,
    SITE_NAME,
    SITE_VARIABLE,
    STATE_DIR,
    inbox_folder,
)
from hpcorch.users import group_name, own_groups, stranger

_log = logging.getLogger(__name__)
_DIGEST_LENGTH = 12


def find_ledger(start: Path) -> Path | None:
    """The ledger that serves ``start``: $HPCORCH_LEDGER, else the nearest one walking up; None if neither is.

    One that has sweeps to take over and no file yet counts. Another user's does not, and one in a folder that
    everybody writes to, such as ``/tmp``, serves that folder alone.
    """
    named = os.environ.get(LEDGER_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    for folder in around(start):
        for candidate in (_inside(folder) if may_serve(folder) else None, _outside(folder)):
            if candidate is not None and (is_there(candidate) or inbox_folder(candidate).is_dir()):
                return candidate
    return None


def default_ledger(start: Path) -> Path:
    """Where the ledger that serves ``start`` is or would be made.

    That is at the root of the git checkout or beside a project's own site profile, whichever is nearer walking up,
    else at ``start``; in this user's home, if that folder is another's, or cannot be written to.
    """
    found = find_ledger(start)
    if found is not None:
        return found
    marks = (".git", f"{STATE_DIR}/{SITE_NAME}")
    folders = (folder for folder in around(start) if may_serve(folder))
    root = next((folder for folder in folders if any((folder / mark).exists() for mark in marks)), start)
    inside = _inside(root)
    if may_serve(root) and _can_be_made(inside.parent):
        return inside
    outside = _outside(root)
    if outside is None:
        return inside
    _tell_outside(root, outside)
    return outside


def served_folder(ledger: Path, start: Path) -> Path:
    """The folder whose sweeps a ledger is for.

    :param start: a folder in it, of a ledger in this user's home, whose place does not tell
    """
    outside = next((folder for folder in around(start) if _outside(folder) == ledger), None)
    if outside is not None:
        return outside
    return ledger.parent.parent if ledger.parent.name == STATE_DIR else start


def _inside(folder: Path) -> Path:
    return folder / STATE_DIR / LEDGER_NAME


def _outside(folder: Path) -> Path | None:
    """This user's ledger of a folder that is not theirs to write to; None for who has no home."""
    try:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser())
    except RuntimeError:
        return None
    digest = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:_DIGEST_LENGTH]
    return _inside(data / "hpcorch" / "projects" / f"{folder.name or 'root'}-{digest}")


def _can_be_made(state: Path) -> bool:
    project = state.parent
    return state.exists() or not project.exists() or os.access(project, os.W_OK | os.X_OK)


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

    Another user's is passed over, since its ledger and its site profile would decide what is submitted; but not one
    that a group shares and that this user has joined.
    """
    state = project / STATE_DIR
    owner = stranger(state)
    if owner is None and _is_closed_to_us(state):
        return False
    if owner is None or has_joined(state):
        return True
    group = shared_with_us(state)
    _tell_passed_over(state, owner, None if group is None else group_name(group))
    return False


def _is_closed_to_us(state: Path) -> bool:
    """Whether it is a folder, of root's mostly, that this user may not enter. One's own is to be opened again."""
    return state.is_dir() and state.stat().st_uid != os.geteuid() and not os.access(state, os.X_OK)


@cache
def _tell_passed_over(state: Path, owner: str, group: str | None) -> None:
    if group is not None:
        _log.warning(
            "%s is shared by %s with group %s, and you have not joined, so it is passed over: to join, run `hpcorch"
            " init --group %s` in %s",
            *(state, owner, group, group, state.parent),
        )
        return
    ways = {
        LEDGER_NAME: f"its ledger with --ledger or ${LEDGER_VARIABLE}",
        SITE_NAME: f"its site profile with ${SITE_VARIABLE}",
    }
    open_to_us = [way for name, way in ways.items() if os.access(state / name, os.R_OK)]
    if open_to_us:
        advice = f"if you want to use what you may read of it, name {' and '.join(open_to_us)}"
    else:
        advice = f"ask {owner} to share it with a group that you are in, by `hpcorch init --group NAME` there"
    _log.warning("%s belongs to %s, so it is passed over: %s", state, owner, advice)


@cache
def _tell_outside(folder: Path, ledger: Path) -> None:
    _log.warning("%s is not yours to write to, so what you run there is recorded in %s", folder, ledger)


def shared_with_us(state: Path) -> int | None:
    """The group that shares a project's ``.hpcorch``; None if none does, or this user is not in it."""
    try:
        status = state.stat()
    except OSError:
        return None
    access = access_of(status)
    if access.group not in own_groups() or not access.writes or status.st_mode & stat.S_IWOTH:
        return None
    return access.group


def has_joined(state: Path) -> bool:
    """Whether this user takes part in the project, and it is as it was then: of the same owner and group."""
    group = shared_with_us(state)
    return group is not None and _joined().get(_name(state)) == [state.stat().st_uid, group]


def join(state: Path) -> None:
    """Note that this user takes part.

    :raises OSError: it cannot be noted
    """
    status = state.stat()
    noted = {**_joined(), _name(state): [status.st_uid, status.st_gid]}
    path = _notes()
    make_folder(path.parent)
    write_whole(path, json.dumps(noted, indent=1, sort_keys=True).encode("ascii") + b"\n")


def _joined() -> dict[str, list[int]]:
    try:
        noted = json.loads(read_regular(_notes(), own=True))
    except (ForeignFileError, OSError, ValueError, RuntimeError):  # a user may have no home
        return {}
    return noted if isinstance(noted, dict) else {}


def _notes() -> Path:
    configuration = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(configuration) / "hpcorch" / "shared-projects.json"


def _name(state: Path) -> str:
    return os.path.realpath(state)
