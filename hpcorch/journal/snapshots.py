"""The listing of a code state: which files it has, with their kinds, sizes and digests.

The SHA-256 of the listing names the code state. It depends on contents alone: not on times, owners, or how an
archive is packed. File names are bytes on disk; here they are text in UTF-8, other bytes as lone surrogates.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path

from hpcorch.errors import RecordError
from hpcorch.quick_dataclasses import dataclass

_TITLE = b"hpcorch snapshot 1\0"


class Kind(Enum):
    """What an entry is; the value is the word of the listing."""

    FILE = "file"
    EXECUTABLE = "exec"
    LINK = "link"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of a snapshot.

    :param path: relative to the root, with ``/``
    :param size: bytes; 0 for a link
    :param digest: SHA-256 in hexadecimal of its content, or of a link's target
    :param target: where a link points to, relative to its own folder; None for others
    """

    path: str
    kind: Kind
    size: int
    digest: str
    target: str | None = None


def to_text(name: bytes) -> str:
    """A file name as listings have it."""
    return name.decode("utf-8", errors="surrogateescape")


def to_bytes(name: str) -> bytes:
    """A file name as the file system has it."""
    return name.encode("utf-8", errors="surrogateescape")


def place(root: Path, name: str) -> Path:
    """Where a file of a listing is below ``root``."""
    return root / os.fsdecode(to_bytes(name))


def printable(name: str) -> str:
    """A file name for a message: control characters and bytes that are not UTF-8 are escaped."""
    shown = to_bytes(name).decode("utf-8", errors="backslashreplace")
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in shown)


def encode_listing(entries: Sequence[Entry]) -> bytes:
    """The canonical form of a listing."""
    ordered = sorted(entries, key=lambda entry: to_bytes(entry.path))
    return _TITLE + b"".join(map(_encode_entry, ordered))


def _encode_entry(entry: Entry) -> bytes:
    name = to_bytes(entry.path) + b"\0"
    target = b"" if entry.target is None else to_bytes(entry.target) + b"\0"
    return f"{entry.kind.value} {entry.digest} {entry.size} ".encode() + name + target


def decode_listing(content: bytes) -> tuple[Entry, ...]:
    """The entries of a listing.

    :raises RecordError: it is no listing, or names something that a snapshot never holds
    """
    try:
        entries = tuple(_decode_entries(content))
    except (ValueError, StopIteration) as error:
        raise RecordError(f"the listing of a snapshot cannot be read ({error})") from error
    if encode_listing(entries) != content:
        raise RecordError("the listing of a snapshot is not as it was written: its order or spelling differs")
    _refuse_escapes(entries)
    return entries


def _decode_entries(content: bytes) -> Iterator[Entry]:
    if not content.startswith(_TITLE):
        raise ValueError("it does not begin as one, or is of a later version")
    fields = iter(content[len(_TITLE) :].split(b"\0")[:-1])
    for field in fields:
        word, digest, size, name = field.split(b" ", 3)
        kind = Kind(word.decode())
        target = next(fields, None) if kind is Kind.LINK else None
        if kind is Kind.LINK and target is None:
            raise ValueError("a link without a target")
        yield Entry(
            path=to_text(name),
            kind=kind,
            size=int(size),
            digest=digest.decode(),
            target=None if target is None else to_text(target),
        )


def _refuse_escapes(entries: Sequence[Entry]) -> None:
    """Nothing may be written or point outside, nor through a link, nor twice to one place."""
    files = {entry.path for entry in entries}
    if len(files) != len(entries):
        raise RecordError("a snapshot names a file twice")
    for entry in entries:
        parts = entry.path.split("/")
        parents = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        inside = entry.target is None or stays_inside(entry.path, entry.target)
        if {"", ".", ".."} & set(parts) or parents & files or not inside:
            raise RecordError(f"a snapshot names a file that leads outside: {printable(entry.path)}")


def stays_inside(path: str, target: str) -> bool:
    """Whether a link at ``path`` that points to ``target`` stays below the root, by the names alone."""
    if not target or target.startswith("/"):
        return False
    depth = path.count("/")
    for part in target.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            return False
    return True


def listing_digest(listing: bytes) -> str:
    """The digest of a code state."""
    return hashlib.sha256(listing).hexdigest()


def file_entry(path: str, content: bytes, *, executable: bool) -> Entry:
    """The entry of a file with this content."""
    kind = Kind.EXECUTABLE if executable else Kind.FILE
    return Entry(path=path, kind=kind, size=len(content), digest=hashlib.sha256(content).hexdigest())


def link_entry(path: str, target: str) -> Entry:
    """The entry of a symbolic link."""
    digest = hashlib.sha256(to_bytes(target)).hexdigest()
    return Entry(path=path, kind=Kind.LINK, size=0, digest=digest, target=target)
