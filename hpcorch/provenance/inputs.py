"""Digests of a run's input data: files, and directories with all they hold."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import NotFoundError, UnavailableError, UsageError
from hpcorch.journal.folders import raise_error, walk
from hpcorch.provenance.digests import DigestCache, unchanged
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class InputDigest:
    """What an input was when it was recorded.

    :param path: absolute, as it was named
    :param kind: ``file`` or ``directory``
    :param digest: SHA-256 in hexadecimal: of a file's content; of a directory's list of names and digests
    :param size: bytes of all files
    :param files: how many; 1 for a file
    """

    path: str
    kind: str
    digest: str
    size: int
    files: int


def digest_input(path: str | os.PathLike[str], cache: DigestCache | None = None) -> InputDigest:
    """Digest a file or a directory.

    A link is followed where it is named; one within a directory counts as where it points to.

    :param cache: spares the reading of files that did not change; the caller saves it
    :raises UsageError: it is no path, or an empty one
    :raises NotFoundError: there is none
    :raises UnavailableError: it cannot be read, or somebody writes to it
    """
    absolute = _absolute(path)
    try:
        status = absolute.stat()
        if stat.S_ISDIR(status.st_mode):
            return _directory(absolute, cache)
        if not stat.S_ISREG(status.st_mode):
            raise NotFoundError(f"the input {absolute} is neither a file nor a directory: name one that is")
        return InputDigest(
            path=str(absolute), kind="file", digest=_file(absolute, cache), size=status.st_size, files=1
        )
    except FileNotFoundError as error:
        raise NotFoundError(f"the input {error.filename} does not exist: check its path") from None
    except OSError as error:
        raise UnavailableError(f"the input {absolute} cannot be read ({error.strerror})") from error


def _absolute(path: str | os.PathLike[str]) -> Path:
    """The path from the root on; an empty one is a mistake, and not the working directory."""
    try:
        name = os.fsencode(path)
    except (TypeError, UnicodeEncodeError):
        name = b""
    if not name or b"\0" in name:
        raise UsageError(f"an input must be named by its path, not {path!r}: name a file or a directory")
    return Path(os.fsdecode(name)).absolute()


def _directory(path: Path, cache: DigestCache | None) -> InputDigest:
    listing = hashlib.sha256()
    size = files = 0
    for name, found in _walk(path):
        if found.is_symlink():
            what = "link " + hashlib.sha256(os.fsencode(found.readlink())).hexdigest()
        else:
            what = "file " + _file(found, cache)
            size += found.stat().st_size
        files += 1
        listing.update(what.encode() + b" " + name + b"\0")
    return InputDigest(path=str(path), kind="directory", digest=listing.hexdigest(), size=size, files=files)


def _walk(root: Path) -> Iterator[tuple[bytes, Path]]:
    """Files and links below a directory, by name; sockets, pipes and devices hold no data."""
    found = []
    for folder, folders, names in walk(root, on_error=raise_error):
        linked = [name for name in folders if Path(folder, name).is_symlink()]
        found += [Path(folder, name) for name in (*names, *linked)]
    for path in sorted(found, key=os.fsencode):
        if path.is_symlink() or path.is_file():
            yield os.fsencode(path.relative_to(root)), path


def _file(path: Path, cache: DigestCache | None) -> str:
    key = str(path).encode("utf-8", "backslashreplace").decode()
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        known = cache.get(key, before) if cache else None
        if known is not None:
            return known
        check = hashlib.sha256()
        while chunk := file.read(tunables.READ_BYTES):
            check.update(chunk)
        if not unchanged(before, os.fstat(file.fileno())):
            raise UnavailableError(f"the input {path} was written to while it was read: record it when it is whole")
    if cache:
        cache.put(key, before, check.hexdigest())
    return check.hexdigest()
