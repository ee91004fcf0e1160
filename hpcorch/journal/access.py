"""Who may read and write what hpcorch makes: the one place that decides modes, whatever the umask.

What is made in a folder of hpcorch's is as that folder is: for its owner alone, or, where the folder's mode is 2770
or 2750, for the members of its group, too. ``hpcorch init --group`` makes a project's folder so, and the sweeps of
such a project have theirs like it, but for writing: a sweep's record is its owner's to write. That one fact, which
nobody else can set, goes down with the folders, so a job needs no other file to know it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hpcorch.journal.layout import STATE_DIR
from hpcorch.quick_dataclasses import dataclass

_FOR_GROUP = stat.S_ISGID | stat.S_IRGRP | stat.S_IXGRP
_ANYBODY_WRITES = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who else than its owner has to do with a file or folder.

    :param group: the id of the group that may read it; None for nobody
    :param writes: whether that group may write to it, too
    """

    group: int | None = None
    writes: bool = False

    @property
    def file_mode(self) -> int:
        """The mode of a file."""
        return 0o600 if self.group is None else 0o660 if self.writes else 0o640

    @property
    def folder_mode(self) -> int:
        """The mode of a folder."""
        return 0o700 if self.group is None else 0o2770 if self.writes else 0o2750

    @property
    def reading(self) -> Access:
        """The same, for reading alone."""
        return replace(self, writes=False)


PRIVATE = Access()


def access_of(status: os.stat_result) -> Access:
    """What a folder of hpcorch's that has this status passes on."""
    if not stat.S_ISDIR(status.st_mode) or status.st_mode & _FOR_GROUP != _FOR_GROUP:
        return PRIVATE
    return Access(group=status.st_gid, writes=bool(status.st_mode & stat.S_IWGRP))


def access_in(folder: Path) -> Access:
    """What is made in a folder gets. One that is not hpcorch's passes nothing on, whatever its mode."""
    if STATE_DIR not in folder.parts:
        return PRIVATE
    try:
        return access_of(folder.stat())
    except OSError:
        return PRIVATE


def open_new(path: Path, flags: int, *, access: Access | None = None) -> int:
    """Open a file, and make it if it is missing.

    In a folder that a group shares no link is followed: what it leads to would be given to the group.

    :param flags: of :func:`os.open`, without ``O_CREAT``
    :param access: as its folder passes on, if None
    :raises OSError: as :func:`os.open`
    """
    access = access_in(path.parent) if access is None else access
    if access.group is None:
        return os.open(path, flags | os.O_CREAT, access.file_mode)
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, access.file_mode)
    _give(descriptor, access.group, access.file_mode)
    return descriptor


def touch(path: Path) -> None:
    """Make an empty file, or give the one that is there the present time."""
    descriptor = open_new(path, os.O_WRONLY)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path, *, access: Access | None = None, exist_ok: bool = True) -> None:
    """Make a folder of hpcorch's, and those above it that are missing.

    :param access: as the folder above it passes on, if None
    :raises FileExistsError: it is there, and was not to be
    :raises OSError: it cannot be made
    """
    if exist_ok and path.is_dir():
        return
    if not path.parent.is_dir():
        make_folder(path.parent)
    access = access_in(path.parent) if access is None else access
    path.mkdir(access.folder_mode & 0o777, exist_ok=exist_ok)
    if access.group is not None:
        give_folder(path, access)


def make_record_folder(path: Path, *, exist_ok: bool = True) -> None:
    """As :func:`make_folder`, in a sweep's record: the group may read at most, wherever that record lies."""
    make_folder(path, access=access_in(path.parent).reading, exist_ok=exist_ok)


def make_output_folder(path: Path, *, access: Access = PRIVATE) -> None:
    """Make a folder for what a program writes, and those above it that are missing; it may be there.

    It follows the umask, but gives nobody more than the folder that it is made in.

    :param access: of the sweep's record: the group may read, even if the umask does not say so
    :raises OSError: it cannot be made
    """
    if path.is_dir():
        return
    make_output_folder(path.parent, access=access)
    path.mkdir(0o700 | _allowed_below(path.parent), exist_ok=True)
    if access.group is not None:
        give_folder(path, access.reading)


def narrow(path: Path, top: Path) -> None:
    """See that a folder of this user's gives nobody more than a folder above it does."""
    with suppress(OSError):
        status = path.stat()
        mode = stat.S_IMODE(status.st_mode)
        narrower = mode & (_allowed_below(top) | ~0o077)
        if mode != narrower and status.st_uid == os.geteuid():
            path.chmod(narrower)


def _allowed_below(folder: Path) -> int:
    """What others may get below a folder: not to write there, if it is a folder that everybody makes files in."""
    mode = folder.stat().st_mode
    return mode & 0o077 & ~(_ANYBODY_WRITES if mode & stat.S_ISVTX else 0)


def settle(path: Path, access: Access | None = None) -> None:
    """Give a file of this user's the group and the mode that are right; one of another user's stays as it is.

    :param access: as its folder passes on, if None
    """
    access = access_in(path.parent) if access is None else access
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            _give(descriptor, access.group, access.file_mode)
        finally:
            os.close(descriptor)


def give_folder(path: Path, access: Access, *, kept: bool = False) -> None:
    """Give a folder of this user's the group and the mode; one of another user's stays as it is.

    :param kept: nobody may remove or rename what others have made there (the sticky bit)
    """
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _give(descriptor, access.group, access.folder_mode | (stat.S_ISVTX if kept else 0))
        finally:
            os.close(descriptor)


def give_tree(folder: Path, access: Access, *, private: Collection[Path] = ()) -> None:
    """Give all that is this user's in a folder, and the folder, the group and the mode. No link is followed.

    :param private: files that stay this user's alone
    """
    give_folder(folder, access)
    for name, folders, files, descriptor in os.fwalk(folder):
        for inner in folders:
            _give_inside(descriptor, inner, access.group, access.folder_mode)
        for inner in files:
            mode = PRIVATE.file_mode if Path(name, inner) in private else access.file_mode
            _give_inside(descriptor, inner, access.group, mode)


def _give_inside(folder: int, name: str, group: int | None, mode: int) -> None:
    with suppress(OSError):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        try:
            _give(descriptor, group, mode)
        finally:
            os.close(descriptor)


def give_project(path: Path, group: int) -> None:
    """Let a group make files in a project's folder, which is this user's. What others may do there stays.

    :raises OSError: the folder is another user's, or the file system refuses
    """
    os.chown(path, -1, group)
    path.chmod(stat.S_IMODE(path.stat().st_mode) | Access(group=group, writes=True).folder_mode)


def _give(descriptor: int, group: int | None, mode: int) -> None:
    """Not every file system does as it is told, and it is no reason to stop if one does not.

    A file that has a name elsewhere, too, may be private there: a colleague can have linked it.
    """
    with suppress(OSError):
        status = os.fstat(descriptor)
        is_file = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        if status.st_uid != os.geteuid() or not (is_file or stat.S_ISDIR(status.st_mode)):
            return
        if group is not None and status.st_gid != group:
            os.fchown(descriptor, -1, group)  # takes the setgid bit away
            status = os.fstat(descriptor)
        if stat.S_IMODE(status.st_mode) != mode:
            os.fchmod(descriptor, mode)
