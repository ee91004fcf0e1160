"""Users by their uid. A name in an environment variable or in a file is anybody's to write."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

# root, and whose files a file system shows that cannot tell (an NFS server without names, an unmapped id).
_TRUSTED = (0, 65534)


def is_trusted(uid: int) -> bool:
    """Whether what a user has written may decide what this user's processes do."""
    return uid == os.geteuid() or uid in _TRUSTED


@cache
def known_name(uid: int) -> str | None:
    """A user's name; None where this machine has none, as in containers."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def name_of(uid: int) -> str:
    """A user's name; the number where there is none."""
    return known_name(uid) or str(uid)


def own_name() -> str:
    """The name of this process's user."""
    return name_of(os.geteuid())


def stranger(path: Path) -> str | None:
    """The name of the user whom a file or folder belongs to, if what is in it may not be trusted.

    :return: None if it is this user's, or is not there
    """
    try:
        uid = path.stat().st_uid
    except OSError:
        return None
    return None if is_trusted(uid) else name_of(uid)


def own_groups() -> frozenset[int]:
    """The ids of the groups that this process's user is in."""
    return frozenset({os.getegid(), *os.getgroups()})


@cache
def group_name(group: int) -> str:
    """A group's name; the number where this machine has none."""
    import grp

    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


def group_id(name: str) -> int | None:
    """The id of a group, which may be written as it is; None if this machine has none of that name."""
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return int(name) if name.isdecimal() else None


def is_outside(uid: int, group: int) -> bool:
    """Whether a user is known not to be in a group. Of one whom this machine does not know nobody can tell."""
    import pwd

    try:
        user = pwd.getpwuid(uid)
        return group not in os.getgrouplist(user.pw_name, user.pw_gid)
    except (KeyError, OSError):
        return False
