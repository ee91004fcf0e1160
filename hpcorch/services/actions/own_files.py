"""Counting or removing files below one folder: never through a link, never a stranger's, never another sweep's."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from shlex import quote

from hpcorch.errors import UsageError
from hpcorch.journal.layout import STATE_DIR
from hpcorch.users import is_trusted, name_of

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Files:
    """Files below a folder, which is opened once, so that nobody can put another one in its place meanwhile.

    :ivar count: how many files were counted or removed
    :ivar size: their bytes
    :ivar left: what is not taken, and why
    """

    def __init__(self, top: Path, *, removes: bool) -> None:
        """:raises UsageError: it is a symbolic link, or no folder
        :raises OSError: it cannot be opened
        """
        if top.is_symlink():
            raise UsageError(
                f"{top} is a symbolic link: remove the link, and say where the directory is, with"
                f" `rm {quote(str(top))} && hpcorch ledger moved {quote(str(top))} {quote(str(top.resolve()))}`"
            )
        self._top = top
        self._removes = removes
        self._descriptor = os.open(top, _FOLDER)
        self.count = 0
        self.size = 0
        self.left: list[str] = []

    def check_unmoved(self) -> None:
        """See that the folder at this path still is the one that was opened.

        :raises UsageError: it is not
        """
        if not os.path.samestat(os.fstat(self._descriptor), os.lstat(self._top)):
            raise UsageError(f"{self._top} was exchanged at this moment: look what it is, and try again")

    def close(self) -> None:
        """Close the folder."""
        os.close(self._descriptor)

    def names(self, folder: Path) -> list[str]:
        """What is in a folder below, in order.

        :param folder: relative
        """
        descriptor = self._open(folder)
        if descriptor is None:
            return []
        try:
            return sorted(os.listdir(descriptor))  # noqa: PTH208 - of a descriptor
        finally:
            os.close(descriptor)

    def take(self, path: Path) -> None:
        """Count or remove a file, or a folder with all that is in it. What is not there is passed over.

        :param path: relative
        """
        parent = self._open(path.parent)
        if parent is None:
            return
        try:
            self._take(parent, path)
        finally:
            os.close(parent)

    def _open(self, folder: Path) -> int | None:
        """A folder below, no part of whose path is a link; None if there is none."""
        descriptor = os.dup(self._descriptor)
        for part in folder.parts:
            above = descriptor
            try:
                descriptor = os.open(part, _FOLDER, dir_fd=above)
            except FileNotFoundError:
                return None
            except OSError:  # a link, or no folder
                self.left.append(f"{self._top / folder}: {part} is a link, or no folder")
                return None
            finally:
                os.close(above)
        return descriptor

    def _take(self, parent: int, path: Path) -> bool:
        """Whether nothing is left of it."""
        try:
            status = os.stat(path.name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return True
        if not is_trusted(status.st_uid):
            self.left.append(f"{self._top / path} belongs to {name_of(status.st_uid)}")
            return False
        if stat.S_ISDIR(status.st_mode):
            return self._take_folder(parent, path)
        self.count += 1
        self.size += status.st_size
        if self._removes:
            os.unlink(path.name, dir_fd=parent)
        return True

    def _take_folder(self, parent: int, path: Path) -> bool:
        descriptor = os.open(path.name, _FOLDER, dir_fd=parent)
        try:
            names = sorted(os.listdir(descriptor))  # noqa: PTH208 - of a descriptor
            if STATE_DIR in names:
                self.left.append(f"{self._top / path} holds another sweep or project")
                return False
            taken = [self._take(descriptor, path / name) for name in names]  # all of them
        finally:
            os.close(descriptor)
        if all(taken) and self._removes:
            os.rmdir(path.name, dir_fd=parent)
        return all(taken)
