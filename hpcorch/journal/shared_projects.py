"""Projects of other users that this user takes part in, because both are in the group that shares them.

A folder that somebody else has made serves nobody unasked. So each member says once, with ``hpcorch init --group``,
that this one is meant: it is noted in the member's own configuration, as git notes ``safe.directory``.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from hpcorch.errors import ForeignFileError
from hpcorch.journal.access import access_of, make_folder
from hpcorch.journal.files import read_regular, write_whole
from hpcorch.users import own_groups


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
