"""Whether the files of a code state are still on disk as they were frozen."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from hpcorch.journal.archives import open_archive
from hpcorch.journal.layout import digest_cache
from hpcorch.journal.manifest import SnapshotPlace
from hpcorch.journal.snapshots import Entry, Kind, file_entry, place
from hpcorch.provenance.digests import DigestCache
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFile:
    """A file that is not as it was frozen.

    :param path: relative to the code's root
    :param before: digest of its content then
    :param after: now; None if it is gone
    """

    path: str
    before: str
    after: str | None


def changed_files(code: SnapshotPlace) -> list[ChangedFile]:
    """The frozen files that were changed or removed since. New files are not reported.

    A file whose times and size are those of the freeze is not read. Links are not looked at.

    :raises HpcorchError: the snapshot cannot be read
    """
    archive = Path(code.archive)
    entries = open_archive(archive, code.digest).entries
    return list(_changed(entries, Path(code.root), DigestCache(digest_cache(archive.parent.parent))))


def _changed(entries: tuple[Entry, ...], root: Path, cache: DigestCache) -> Iterator[ChangedFile]:
    for entry in entries:
        if entry.kind is Kind.LINK:
            continue
        after = _digest(entry, place(root, entry.path), cache)
        if after != entry.digest:
            yield ChangedFile(path=entry.path, before=entry.digest, after=after)


def _digest(entry: Entry, path: Path, cache: DigestCache) -> str | None:
    """The digest of the file now; None if there is none, or none that can be read."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return None
        return cache.get(entry.path, status) or file_entry(entry.path, path.read_bytes(), executable=False).digest
    except OSError:
        return None
