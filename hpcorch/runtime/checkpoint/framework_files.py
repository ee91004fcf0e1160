"""Files that another framework wrote for a checkpoint: durable, listed with their digests, verified."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from hpcorch.errors import CheckpointError
from hpcorch.journal.access import access_in, give_folder, make_folder, settle
from hpcorch.journal.files import sync_directory
from hpcorch.model.values import digest
from hpcorch.runtime.checkpoint.file import DamagedError, ForeignFile, digest_of


def fresh(directory: Path) -> Path:
    """Make an empty directory, in place of what is there."""
    remove(directory)
    make_folder(directory, exist_ok=False)
    return directory


def copy_into(directory: Path, source: Path) -> Path:
    """Copy a directory's content, or a file under its own name, into a fresh directory.

    :raises OSError: it cannot be copied
    """
    fresh(directory)
    try:
        if source.is_dir():
            shutil.copytree(source, directory, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy2(source, directory / source.name)
    except shutil.Error as error:  # it gathers what went wrong; the first is enough to act on
        raise OSError(error.args[0][0][2]) from error
    return directory


def make_durable(directory: Path) -> list[ForeignFile]:
    """Have all files below a directory reach the disk, and list them.

    :raises CheckpointError: something there is neither a file, a directory nor a symbolic link
    :raises OSError: something cannot be read or synchronised
    """
    files = []
    give_folder(directory, access_in(directory.parent))
    for path in _below(directory):
        if path.is_dir() and not path.is_symlink():
            give_folder(path, access_in(path.parent))
            sync_directory(path)
            continue
        if path.is_file() and not path.is_symlink():
            settle(path)
            _sync_file(path)
        files.append(_describe(path, directory))
    sync_directory(directory)
    return files


def _below(directory: Path) -> Iterator[Path]:
    return iter(sorted(directory.rglob("*")))


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _describe(path: Path, directory: Path, within: Path | None = None) -> ForeignFile:
    name = str(path.relative_to(directory))
    if path.is_symlink():
        target = os.fsencode(path.readlink())
        return ForeignFile(path=name, size=len(target), digest=digest(b"link:" + target))
    if not path.is_file():
        raise CheckpointError(
            f"{path} is neither a file, a directory nor a symbolic link, and cannot be part of a checkpoint: have"
            " it written elsewhere"
        )
    return ForeignFile(path=name, size=path.stat().st_size, digest=digest_of(path, within=within))


def verify_files(
    directory: Path, files: Sequence[ForeignFile], *, digests: bool = True, within: Path | None = None
) -> None:
    """Check that files are as they were listed. Other files beside them are ignored.

    :param digests: read them; otherwise their sizes are compared
    :param within: as for :func:`hpcorch.journal.files.open_regular`
    :raises DamagedError: one is missing or differs
    :raises OSError: one cannot be read
    """
    for listed in files:
        path = directory / listed.path
        if os.pardir in path.parts or not path.is_relative_to(directory):
            raise DamagedError(f"it names {listed.path!r}, which is outside of {directory.name}")
        try:
            same = path.lstat().st_size == listed.size and (
                not digests or _describe(path, directory, within) == listed
            )
        except (FileNotFoundError, NotADirectoryError, CheckpointError):
            raise DamagedError(f"its file {listed.path} is missing from {directory.name}") from None
        if not same:
            raise DamagedError(f"its file {listed.path} in {directory.name} is not what was saved")


def remove(path: Path) -> None:
    """Remove a file, or a directory with all in it, if it is there.

    :raises OSError: it cannot be removed
    """
    try:
        path.unlink()
    except FileNotFoundError:
        return
    except IsADirectoryError:
        shutil.rmtree(path)
