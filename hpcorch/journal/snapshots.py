"""The archive of a code state: one file, named by the digest of what it holds.

The digest is the SHA-256 of the *listing*, which names each file with its kind, size and SHA-256, sorted by path.
It depends on contents alone: not on times, owners, or how the archive is packed. The listing is the archive's
first member, so that common tools can check it: ``tar -xOzf ARCHIVE .hpcorch-snapshot | sha256sum``.

The archive is a gzipped tar in which nothing is left to chance: all bytes of the tar follow from the listing and
the contents, and a field in the gzip header has the SHA-256 of all that comes after it. So no byte can change
unnoticed. File names are bytes on disk; here they are text in UTF-8, other bytes as lone surrogates.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hpcorch.errors import DriftError, RecordError, UnavailableError

LISTING = b".hpcorch-snapshot"
_TITLE = b"hpcorch snapshot 1\0"
# RFC 1952: deflate, an extra field of 36 bytes, no time, unknown system; the subfield HO has 32 bytes.
_GZIP_HEADER = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + (36).to_bytes(2, "little") + b"HO" + (32).to_bytes(2, "little")
_GZIP_START = len(_GZIP_HEADER) + 32
_BLOCK = 512
# Sources shrink to a third or a quarter; a higher level takes several times as long for a tenth of that.
_LEVEL = 1


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


class ArchiveWriter:
    """Packs contents in the order of their paths, each read only once; the listing comes to stand before them."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)
        self._packed: list[bytes] = []

    def add_file(self, path: str, content: bytes, *, executable: bool) -> Entry:
        """Add what was read of a file.

        :param path: relative to the root; after all that were added before, compared as bytes
        """
        entry = Entry(
            path=path,
            kind=Kind.EXECUTABLE if executable else Kind.FILE,
            size=len(content),
            digest=hashlib.sha256(content).hexdigest(),
        )
        self._add(entry, content)
        return entry

    def add_link(self, path: str, target: str) -> Entry:
        """Add a symbolic link; its place is as for :meth:`add_file`."""
        entry = link_entry(path, target)
        self._add(entry, b"")
        return entry

    def _add(self, entry: Entry, content: bytes) -> None:
        if self._entries and to_bytes(self._entries[-1].path) >= to_bytes(entry.path):
            raise ValueError(f"{printable(entry.path)} is out of order")
        self._entries.append(entry)
        self._packed.append(self._deflater.compress(_member(entry) + _padded(content)))

    def finish(self) -> tuple[str, bytes]:
        """The digest of the code state and the archive's content."""
        listing = encode_listing(self._entries)
        first = _listing_member(len(listing)) + _padded(listing)
        deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
        check = zlib.crc32(first).to_bytes(4, "little") + (len(first) & 0xFFFFFFFF).to_bytes(4, "little")
        ending = self._deflater.compress(bytes(2 * _BLOCK)) + self._deflater.flush()
        body = b"".join([deflater.compress(first), deflater.flush(), check, *self._packed, ending])
        return listing_digest(listing), _GZIP_HEADER + hashlib.sha256(body).digest() + body


def link_entry(path: str, target: str) -> Entry:
    """The entry of a symbolic link."""
    digest = hashlib.sha256(to_bytes(target)).hexdigest()
    return Entry(path=path, kind=Kind.LINK, size=0, digest=digest, target=target)


def _listing_member(size: int) -> bytes:
    return _header(LISTING, size=size, mode=0o644, kind=b"0")


def _member(entry: Entry) -> bytes:
    if entry.kind is Kind.LINK:
        target = to_bytes(entry.target or "")
        return _header(to_bytes(entry.path), size=0, mode=0o777, kind=b"2", target=target)
    mode = 0o755 if entry.kind is Kind.EXECUTABLE else 0o644
    return _header(to_bytes(entry.path), size=entry.size, mode=mode, kind=b"0")


def _header(name: bytes, *, size: int, mode: int, kind: bytes, target: bytes = b"") -> bytes:
    """A header as GNU tar reads it. :mod:`tarfile` fills unused fields differently from release to release."""
    long = b""
    for flag, text in ((b"L", name), (b"K", target)):
        if len(text) > 100:
            long += _header(b"././@LongLink", size=len(text) + 1, mode=0, kind=flag) + _padded(text + b"\0")
    head = name[:100].ljust(100, b"\0") + b"%07o\0" % mode + b"0000000\0" * 2 + b"%011o\0" % size + b"0" * 11 + b"\0"
    tail = (kind + target[:100].ljust(100, b"\0") + b"ustar  \0").ljust(_BLOCK - len(head) - 8, b"\0")
    return long + head + b"%06o\0 " % sum(head + b" " * 8 + tail) + tail


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _BLOCK)
