"""The archive of a code state: one file, named by the digest of its listing.

The listing is the archive's first member, so that common tools can check it:
``tar -xOzf ARCHIVE .hpcorch-snapshot | sha256sum``. It is a gzipped tar in which nothing is left to chance: all
bytes of the tar follow from the listing and the contents, and a field in the gzip header has the SHA-256 of all
that comes after it. So no byte can change unnoticed.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import DriftError, RecordError, UnavailableError
from hpcorch.journal.access import make_folder
from hpcorch.journal.files import read_regular, write_whole
from hpcorch.journal.layout import LEDGER_VARIABLE
from hpcorch.journal.snapshots import (
    Entry,
    Kind,
    decode_listing,
    encode_listing,
    listing_digest,
    printable,
    to_bytes,
)

LISTING = b".hpcorch-snapshot"
# RFC 1952: deflate, an extra field of 36 bytes, no time, unknown system; the subfield HO has 32 bytes.
_GZIP_HEADER = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + (36).to_bytes(2, "little") + b"HO" + (32).to_bytes(2, "little")
_GZIP_START = len(_GZIP_HEADER) + 32
_BLOCK = 512
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class ArchiveWriter:
    """Packs contents in the order of their paths, each read only once; the listing comes to stand before them."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._deflater = zlib.compressobj(tunables.SNAPSHOT_DEFLATE_LEVEL, zlib.DEFLATED, 31)
        self._packed: list[bytes] = []

    def add(self, entry: Entry, content: bytes = b"") -> None:
        """Add a file or a link.

        :param entry: its path comes after all that were added before, compared as bytes
        :param content: what the entry was made of; nothing for a link
        """
        if self._entries and to_bytes(self._entries[-1].path) >= to_bytes(entry.path):
            raise ValueError(f"{printable(entry.path)} is out of order")
        self._entries.append(entry)
        self._packed.append(self._deflater.compress(_member(entry) + _padded(content)))

    def finish(self) -> tuple[str, bytes]:
        """The digest of the code state and the archive's content."""
        listing = encode_listing(self._entries)
        first = _listing_member(len(listing)) + _padded(listing)
        deflater = zlib.compressobj(tunables.SNAPSHOT_DEFLATE_LEVEL, zlib.DEFLATED, -15)
        check = zlib.crc32(first).to_bytes(4, "little") + (len(first) & 0xFFFFFFFF).to_bytes(4, "little")
        ending = self._deflater.compress(bytes(2 * _BLOCK)) + self._deflater.flush()
        body = b"".join([deflater.compress(first), deflater.flush(), check, *self._packed, ending])
        return listing_digest(listing), _GZIP_HEADER + hashlib.sha256(body).digest() + body


class ArchiveReader:
    """Reads an archive's content, comparing every byte with what the digest promises.

    :raises DriftError: it is not what was frozen under the digest
    """

    def __init__(self, content: bytes, digest: str) -> None:
        start, claimed = content[: len(_GZIP_HEADER)], content[len(_GZIP_HEADER) : _GZIP_START]
        if start != _GZIP_HEADER or hashlib.sha256(content[_GZIP_START:]).digest() != claimed:
            raise DriftError(f"the snapshot {digest} was changed or cut after it was written: its checksum differs")
        self._digest = digest
        self._stream = gzip.GzipFile(fileobj=io.BytesIO(content))
        self.listing = self._read_listing()
        self.entries = decode_listing(self.listing)

    def contents(self) -> Iterator[tuple[Entry, bytes]]:
        """Each entry with its content, compared; may be called once."""
        for entry in self.entries:
            self._expect(_member(entry), f"the entry of {printable(entry.path)}")
            content = self._read_padded(entry.size)
            found = hashlib.sha256(content).hexdigest()
            if entry.kind is not Kind.LINK and found != entry.digest:
                raise self._drift(f"{printable(entry.path)} was {entry.digest} and is {found}")
            yield entry, content
        self._expect(bytes(2 * _BLOCK), "its end")
        if self._read(1):
            raise self._drift("something follows its end")

    def _read_listing(self) -> bytes:
        start = self._read(_BLOCK)
        try:
            size = int(start[124:135], 8)
        except ValueError:
            size = 0
        if start != _listing_member(size):
            raise self._drift("it does not begin with its listing")
        if size > tunables.FOREIGN_FILE_BYTES:
            raise self._drift("its listing is too long to be one")
        listing = self._read_padded(size)
        found = listing_digest(listing)
        if found != self._digest:
            raise self._drift(f"its listing has the digest {found}")
        return listing

    def _expect(self, promised: bytes, what: str) -> None:
        if self._read(len(promised)) != promised:
            raise self._drift(f"{what} differs")

    def _read_padded(self, size: int) -> bytes:
        content = self._read(size)
        self._expect(bytes(-size % _BLOCK), "the space between two files")
        return content

    def _read(self, size: int) -> bytes:
        try:
            content = self._stream.read(size)
        except (OSError, EOFError, zlib.error) as error:
            raise self._drift(f"it cannot be unpacked ({error})") from error
        if len(content) < size and size > 1:
            raise self._drift("it ends too early")
        return content

    def _drift(self, what: str) -> DriftError:
        return DriftError(f"the snapshot {self._digest} is not what was frozen: {what}")


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
    head = (
        name[:100].ljust(100, b"\0") + b"%07o\0" % mode + b"0000000\0" * 2 + b"%011o\0" % size + b"0" * 11 + b"\0"
    )
    tail = (kind + target[:100].ljust(100, b"\0") + b"ustar  \0").ljust(_BLOCK - len(head) - 8, b"\0")
    return long + head + b"%06o\0 " % sum(head + b" " * 8 + tail) + tail


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _BLOCK)


def store(folder: Path, digest: str, content: bytes) -> Path:
    """Write an archive, unless a sound one is there already. Several may do so at once.

    :param folder: the project's snapshots
    :raises UnavailableError: it cannot be written
    """
    path = folder / digest
    try:
        if not is_sound(path, digest):
            make_folder(folder)
            write_whole(path, content)
    except OSError as error:
        raise UnavailableError(
            f"the snapshot of the code cannot be written to {path} ({error.strerror}): {_cure(error)}"
        ) from error
    return path


def _cure(error: OSError) -> str:
    if error.errno in _FORBIDDEN:
        return (
            "check that the folder is yours and mounted read-write, or name a ledger in a folder of yours that all"
            f" nodes see with ${LEDGER_VARIABLE}, where snapshots go, too"
        )
    return "check that the file system is not full, and that no file has the name of a needed folder"


def is_sound(path: Path, digest: str) -> bool:
    """Whether an archive exists and has the listing of this digest and a valid checksum; nothing is unpacked."""
    try:
        ArchiveReader(read_regular(path), digest)
    except (OSError, DriftError, RecordError):
        return False
    return True


def problem(path: Path, digest: str) -> str | None:
    """Why an archive does not match its code state, as a sentence; None if its content is as frozen.

    :raises UnavailableError: it cannot be read now
    """
    try:
        for _ in open_archive(path, digest).contents():
            pass
    except (DriftError, RecordError) as error:
        return str(error)
    return None


def open_archive(path: Path, digest: str) -> ArchiveReader:
    """Open an archive for reading.

    :raises RecordError: there is none
    :raises UnavailableError: it cannot be read now
    :raises DriftError: it is not what was frozen under the digest
    """
    try:
        return ArchiveReader(read_regular(path), digest)
    except FileNotFoundError:
        raise RecordError(
            f"the snapshot of the code is missing: {path} does not exist. Put it back from a backup or an export,"
            " or submit the run again to run the code as it is now"
        ) from None
    except OSError as error:
        raise UnavailableError(
            f"the snapshot of the code {path} cannot be read ({error.strerror}): see that this node has its file"
            " system mounted"
        ) from error
