"""Digests of files, remembered by size, times and inode, so that what did not change is not read again.

A file that was modified so shortly before it was read that a second modification could leave the same times is
not remembered: it is read again next time.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import ForeignFileError
from hpcorch.journal.access import access_in, make_folder, open_new
from hpcorch.journal.files import read_regular, write_whole

_VERSION = 1
_Known = tuple[int, int, int, int, str]


class DigestCache:
    """Digests of files by their paths, kept in one file. Losing it costs time and nothing else.

    :param path: the cache's file; several processes may load and save it, the last one to save wins
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _load(path)
        self._used: dict[str, _Known] = {}
        self._now = min(_file_system_now(path.parent), time.time_ns())

    def get(self, name: str, status: os.stat_result) -> str | None:
        """The digest of a file, if it is known and the file is as it was then."""
        known = self._known.get(name)
        if known is None or known[:4] != _stamp(status):
            return None
        self._used[name] = known
        return known[4]

    def put(self, name: str, status: os.stat_result, digest: str) -> None:
        """Remember a digest.

        :param status: of before the file was read, and equal to that of after it
        """
        if max(status.st_mtime_ns, status.st_ctime_ns) < self._now - tunables.FILE_CLOCK_NS:
            self._known[name] = self._used[name] = (*_stamp(status), digest)

    def save(self, *, only_used: bool) -> None:
        """Write the cache. It is not an error if it cannot be written.

        :param only_used: forget what was neither asked for nor remembered since it was loaded
        """
        kept = self._used if only_used else self._known
        if kept == _load(self._path):
            return
        content = json.dumps({"version": _VERSION, "files": kept}, separators=(",", ":")).encode()
        with contextlib.suppress(OSError):
            make_folder(self._path.parent)
            write_whole(self._path, content, access=access_in(self._path.parent).reading)


def unchanged(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether a file was not written to between two readings, judged by its times."""
    return _stamp(before) == _stamp(after)


def _stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _load(path: Path) -> dict[str, _Known]:
    try:
        content = json.loads(read_regular(path, own=True))
        files = content["files"] if content["version"] == _VERSION else {}
        return {
            name: (int(size), int(mtime), int(ctime), int(inode), str(digest))
            for name, (size, mtime, ctime, inode, digest) in files.items()
        }
    except (ForeignFileError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _file_system_now(folder: Path) -> int:
    """The time by the clock that stamps files in a folder: a file server's may differ from this host's."""
    probe = folder / f".now.{os.urandom(4).hex()}.tmp"
    try:
        descriptor = open_new(probe, os.O_WRONLY | os.O_EXCL)
        try:
            return os.fstat(descriptor).st_mtime_ns
        finally:
            os.close(descriptor)
            probe.unlink()
    except OSError:
        return time.time_ns()
