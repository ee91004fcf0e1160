"""One checkpoint file: a pickle, then what it takes to know that it is whole.

1. the payload, a pickle of protocol 5;
2. the trailer, a checksummed line of JSON (:mod:`hpcorch.journal.lines`): who saved what, the digest of the
   payload, digests and sizes of the files that another framework wrote, versions of the libraries;
3. a last line of fixed width that says where the trailer is.

What goes into a pickle is known only when it has been written, hence a trailer and not a header.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, field
from functools import cache
from pathlib import Path
from pickle import PickleBuffer
from types import TracebackType
from typing import IO, Any

from hpcorch import tunables
from hpcorch.journal.access import open_new
from hpcorch.journal.files import open_regular, write_all
from hpcorch.journal.lines import DamagedLineError, seal, unseal
from hpcorch.quick_dataclasses import dataclass

FORMAT = "hpcorch-checkpoint"
VERSION = 1
_LAST_WIDTH = 64


class DamagedError(Exception):
    """A checkpoint differs from what was written; the text says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFile:
    """A file that another framework wrote.

    :param path: relative to the directory of the checkpoint's files
    :param digest: of its content; of its target if it is a symbolic link
    """

    path: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailer:
    """What a checkpoint file says of itself.

    :param attempt: name of the attempt that saved it
    :param sequence: which save of that attempt's it is, from 1
    :param ranks: how many parts the checkpoint has; this is that of ``rank``
    :param payload: digest of the pickle
    :param files: what another framework wrote; None if nothing was given
    """

    step: int
    attempt: str
    sequence: int
    rank: int
    ranks: int
    saved: str
    payload: str = ""
    files: list[ForeignFile] | None = None
    versions: dict[str, str] = field(default_factory=dict)


class CheckpointWriter:
    """A file that hashes what is written to it, large pieces in a second thread (hashing releases the GIL).

    Nothing that is written is copied. To be used as a context manager.

    :raises OSError: the file cannot be written
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        self._digest = hashlib.sha256()
        self._hasher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint-digest")
        self._descriptor = open_new(path, os.O_WRONLY | os.O_TRUNC)

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._hasher.shutdown()
        os.close(self._descriptor)

    def write(self, content: bytes | PickleBuffer) -> int:
        """Write and hash all of it; the data may change when this returns."""
        view = content.raw() if isinstance(content, PickleBuffer) else memoryview(content).cast("B")
        if view.nbytes < tunables.CHECKPOINT_PARALLEL_BYTES:
            self._digest.update(view)
            write_all(self._descriptor, view)
            self.size += view.nbytes
            return view.nbytes
        hashed = self._hasher.submit(self._digest.update, view)
        try:
            self._write_chunks(view)
        finally:
            hashed.result()
        return view.nbytes

    def _write_chunks(self, view: memoryview) -> None:
        for start in range(0, view.nbytes, tunables.CHECKPOINT_CHUNK_BYTES):
            chunk = view[start : start + tunables.CHECKPOINT_CHUNK_BYTES]
            write_all(self._descriptor, chunk)
            # Makes the kernel start writing to the disk now, while the rest is hashed: fsync then waits less.
            with suppress(OSError):
                os.posix_fadvise(self._descriptor, self.size, chunk.nbytes, os.POSIX_FADV_DONTNEED)
            self.size += chunk.nbytes

    def finish(self, trailer: dict[str, Any]) -> str:
        """Write the trailer, make the file durable, and return the digest of the whole."""
        payload_size = self.size
        line = seal({"format": FORMAT, "version": VERSION, **trailer, "payload": _named(self._digest)})
        self.write(line)
        self.write(_last_line(payload_size, len(line)))
        os.fsync(self._descriptor)
        return _named(self._digest)


def describe(trailer: Trailer) -> dict[str, Any]:
    """A trailer as it is written, with the versions of what is imported in this process."""
    return {**asdict(trailer), "versions": _versions()}


@cache
def _own_version() -> str:
    from importlib.metadata import version

    return version("hpcorch")


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0], "hpcorch": _own_version()}
    for name in ("numpy", "torch"):
        if (module := sys.modules.get(name)) is not None:
            versions[name] = str(module.__version__)
    return versions


def read_trailer(file: IO[bytes]) -> tuple[Trailer, int]:
    """The trailer and the size of the payload, without reading the payload.

    :raises DamagedError: the file is torn, was altered, or is of another version
    :raises OSError: it cannot be read
    """
    size = file.seek(0, os.SEEK_END)
    if size < _LAST_WIDTH:
        raise DamagedError("it is incomplete: it ends before its trailer")
    file.seek(-_LAST_WIDTH, os.SEEK_END)
    last = file.read(_LAST_WIDTH)
    fields = last.split()
    if len(fields) != 3 or fields[0] != FORMAT.encode() or not all(text.isdigit() for text in fields[1:]):
        raise DamagedError("its last line is not that of a checkpoint: it is incomplete or was altered")
    start, length = int(fields[1]), int(fields[2])
    if last != _last_line(start, length) or start + length + _LAST_WIDTH != size or length > tunables.LINE_BYTES:
        raise DamagedError("its size differs from the size in its last line: it is incomplete or was altered")
    file.seek(start)
    return _trailer(file.read(length)), start


def _trailer(line: bytes) -> Trailer:
    try:
        record = unseal(line)
        if record.pop("format") != FORMAT or record.pop("version") != VERSION:
            raise DamagedError(f"it is not of version {VERSION} of the format: another hpcorch wrote it")
        files = record.pop("files")
        foreign = None if files is None else [ForeignFile(**entry) for entry in files]
        return Trailer(**record, files=foreign)
    except (DamagedLineError, KeyError, TypeError) as error:
        raise DamagedError(f"its trailer was altered: {error}") from error


def verify(file: IO[bytes]) -> tuple[Trailer, str]:
    """Read a whole checkpoint file; what it holds is safe to unpickle after that.

    :return: its trailer and its digest
    :raises DamagedError: it is not what was written
    :raises OSError: it cannot be read
    """
    trailer, payload_size = read_trailer(file)
    digest = hashlib.sha256()
    file.seek(0)
    _hash(file, digest, payload_size)
    if _named(digest) != trailer.payload:
        raise DamagedError("its content is not what was saved: the digest differs")
    digest.update(file.read())
    return trailer, _named(digest)


def digest_of(path: Path, *, within: Path | None = None) -> str:
    """The digest of a regular file's content.

    :param within: as for :func:`hpcorch.journal.files.open_regular`
    :raises OSError: it cannot be read
    """
    with open_regular(path, within=within) as file:
        return digest_in(file)


def digest_in(file: IO[bytes]) -> str:
    """The digest of what a file that was just opened holds.

    :raises OSError: it cannot be read
    """
    digest = hashlib.sha256()
    _hash(file, digest, os.fstat(file.fileno()).st_size)
    return _named(digest)


def _hash(file: IO[bytes], digest: Any, size: int) -> None:
    while size and (content := file.read(min(size, tunables.READ_BYTES))):
        digest.update(content)
        size -= len(content)


def _named(digest: Any) -> str:
    return f"sha256:{digest.hexdigest()}"


def _last_line(start: int, length: int) -> bytes:
    return f"{FORMAT} {start:020d} {length:010d}".ljust(_LAST_WIDTH - 1).encode() + b"\n"


def total_size(files: Sequence[ForeignFile] | None) -> int:
    """Bytes of what another framework wrote."""
    return sum(file.size for file in files or ())
