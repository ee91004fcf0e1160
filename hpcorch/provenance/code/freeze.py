"""Freezing the code: the files of the code state as one archive, made only if no sweep has it yet."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from hpcorch import tunables
from hpcorch.journal.archives import ArchiveWriter, is_sound, store
from hpcorch.journal.layout import digest_cache, snapshots_folder
from hpcorch.journal.snapshots import Entry, Kind, encode_listing, file_entry, link_entry, listing_digest, place
from hpcorch.provenance.code.code_state import Left, Source, Sources
from hpcorch.provenance.digests import DigestCache, unchanged
from hpcorch.provenance.secrets import secret_by_content
from hpcorch.quick_dataclasses import dataclass

_SECRET = "secret"  # noqa: S105 - in the cache, in place of a digest
_SECRET_REASON = "it holds what looks like a private key"  # noqa: S105 - a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenCode:
    """A code state that can be restored.

    :param root: what paths are relative to
    :param digest: SHA-256 in hexadecimal that names the code state, and its archive
    :param files: how many
    :param size: bytes of all files, before they were packed
    :param left: what was left out, and why
    :param written: whether the archive was written just now, and not there already
    :param is_whole: as in :class:`~hpcorch.provenance.code.code_state.Sources`
    """

    root: Path
    digest: str
    archive: Path
    files: int
    size: int
    left: tuple[Left, ...]
    written: bool
    is_whole: bool = True


def freeze(sources: Sources, *, state: Path) -> FrozenCode:
    """Make the archive of a code state, unless there is one, and return its path.

    Files that are as they were when they were last frozen are not read, unless an archive has to be written.

    :param state: the folder that keeps snapshots, such as a project's ``.hpcorch``
    :raises UnavailableError: the archive cannot be written
    """
    cache = DigestCache(digest_cache(state))
    folder = snapshots_folder(state)
    left: list[Left] = []
    entries, content = _remembered(sources, cache, left), None
    digest = None if entries is None else listing_digest(encode_listing(entries))
    if entries is None or digest is None or not is_sound(folder / digest, digest):
        left.clear()
        entries, digest, content = _archived(sources, cache, left)
    written = content is not None and not (folder / digest).exists()
    archive = folder / digest if content is None else store(folder, digest, content)
    with suppress(OSError):  # another's, in a shared project
        os.utime(archive)  # what was used lately is not removed as unused before the launch is on record
    cache.save(only_used=True)
    return FrozenCode(
        root=sources.root,
        digest=digest,
        archive=archive,
        files=len(entries),
        size=sum(entry.size for entry in entries),
        left=tuple(sorted([*sources.left, *left], key=lambda one: one.path)),
        written=written,
        is_whole=sources.is_whole,
    )


def _remembered(sources: Sources, cache: DigestCache, left: list[Left]) -> list[Entry] | None:
    """The entries of a code state of which little has to be read; None if it is more than little."""
    entries = []
    reads = len(sources.files) // tunables.SNAPSHOT_FEW_CHANGED
    for source in sources.files:
        digest = None if source.target is not None else cache.get(source.path, source.status)
        if digest == _SECRET:
            left.append(Left(path=source.path, reason=_SECRET_REASON))
        elif digest is not None:
            kind = Kind.EXECUTABLE if _executable(source.status) else Kind.FILE
            entries.append(Entry(path=source.path, kind=kind, size=source.status.st_size, digest=digest))
        elif source.target is None and (reads := reads - 1) < 0:
            return None
        elif (found := _look(sources, source, cache, left)) is not None:
            entries.append(found[0])
    return entries


def _archived(sources: Sources, cache: DigestCache, left: list[Left]) -> tuple[list[Entry], str, bytes]:
    """Read all files into an archive."""
    writer = ArchiveWriter()
    entries = []
    for source in sources.files:
        found = _look(sources, source, cache, left)
        if found is not None:
            writer.add(*found)
            entries.append(found[0])
    return entries, *writer.finish()


def _look(sources: Sources, source: Source, cache: DigestCache, left: list[Left]) -> tuple[Entry, bytes] | None:
    """Read a file; None if it is gone since it was found, or is left out."""
    if source.target is not None:
        return link_entry(source.path, source.target), b""
    try:
        content, status, settled = _read(place(sources.root, source.path))
    except FileNotFoundError:
        return None
    except OSError as error:
        left.append(Left(path=source.path, reason=f"it cannot be read ({error.strerror})"))
        return None
    entry = file_entry(source.path, content, executable=_executable(status))
    secret = secret_by_content(content)
    if settled:
        cache.put(source.path, status, _SECRET if secret else entry.digest)
    if secret:
        left.append(Left(path=source.path, reason=_SECRET_REASON))
    return None if secret else (entry, content)


def _read(path: Path) -> tuple[bytes, os.stat_result, bool]:
    """A file's content and status, and whether nobody wrote to it meanwhile. No link is followed."""
    for attempt in range(tunables.SNAPSHOT_READS):
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            before = os.fstat(file.fileno())
            content = file.read()
            after = os.fstat(file.fileno())
        settled = unchanged(before, after) and len(content) == after.st_size
        if settled or attempt == tunables.SNAPSHOT_READS - 1:
            break
    return content, after, settled


def _executable(status: os.stat_result) -> bool:
    return bool(status.st_mode & stat.S_IXUSR)
