"""A journal's lines: one event each, as JSON with a checksum; and appending them.

A line is an object ``{"v":1,"seq":…,"time":…,"kind":…,…,"crc":"xxxxxxxx"}`` in ASCII. ``crc`` comes last and
is the CRC-32 of all bytes before ``,"crc":``, so that a torn, zeroed or overwritten line is recognised without
a look at its neighbours, and the file stays readable by anything that reads JSON lines.

Where a fact must survive a crash its line is synced.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from hpcorch.journal.access import open_new
from hpcorch.journal.files import Confirm, check_regular, open_undelegated, sync_directory, write_all
from hpcorch.model import events
from hpcorch.model.events import Event, Fact, fact_class, from_body, is_integer, kind_of, to_body
from hpcorch.model.ids import is_time, utc_now

FORMAT_VERSION = 1
MOST_NESTED = 200  # containers inside each other: SQLite takes 1000, and Python's stack about as many
_CONTAINERS = (dict, list)
_CRC_KEY = b',"crc":"'
_CRC_TAIL_LENGTH = len(_CRC_KEY) + 8 + len(b'"}')
_START = re.compile(rb'\{"v":\d+,"seq":\d+,"time":"[^"]*","kind":"([^"]*)"')


class DamagedLineError(ValueError):
    """The line is torn or was altered."""


def seal(record: dict[str, Any]) -> bytes:
    """A record as one checksummed line, newline included.

    :raises ValueError: the record holds something that JSON has no form for, or is nested too deeply to be read
    """
    body = json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii")[:-1]
    if _may_be_deep(body) and not is_shallow(record):
        raise ValueError(f"a record has more than {MOST_NESTED} containers inside each other")
    return body + _CRC_KEY + f"{zlib.crc32(body):08x}".encode() + b'"}\n'


def unseal(line: bytes) -> dict[str, Any]:
    """The record of a line, checksum verified and removed.

    :param line: one line without or with its newline
    :raises DamagedLineError: the line is not what was written
    """
    body = _verified(line)
    try:
        record = json.loads(body + b"}")
    except (ValueError, RecursionError) as error:
        raise DamagedLineError(f"the line has a checksum, and is not what this program writes ({error})") from None
    if type(record) is not dict or (_may_be_deep(body) and not is_shallow(record)):
        raise DamagedLineError("the line has a checksum, and is not what this program writes")
    return record


def _may_be_deep(body: bytes) -> bool:
    return body.count(b"[") + body.count(b"{") > MOST_NESTED


def is_shallow(form: Any) -> bool:
    """Whether every reader can take a plain form apart, whatever depth its own stack has."""
    level = [form]
    for _ in range(MOST_NESTED):
        inner = [one.values() if type(one) is dict else one for one in level if type(one) in _CONTAINERS]
        level = [item for items in inner for item in items]
    return not any(type(one) in _CONTAINERS for one in level)


def _verified(line: bytes) -> bytes:
    """What a line holds before its checksum."""
    line = line.rstrip(b"\n")
    body, tail = line[:-_CRC_TAIL_LENGTH], line[-_CRC_TAIL_LENGTH:]
    if tail != _CRC_KEY + f"{zlib.crc32(body):08x}".encode() + b'"}':
        raise DamagedLineError("the line's checksum does not match its content")
    return body


def encode(fact: Fact, *, seq: int, time: str) -> bytes:
    """A fact as the line of a journal."""
    header = {"v": FORMAT_VERSION, "seq": seq, "time": time, "kind": kind_of(fact)}
    return seal({**header, **to_body(fact)})


def decode(line: bytes, *, sweep: str, source: str) -> Event:
    """The event of a journal's line.

    :raises DamagedLineError: the line is torn or was altered
    """
    record = unseal(line)
    try:
        seq, time, kind = record.pop("seq"), record.pop("time"), record.pop("kind")
    except KeyError as error:
        raise DamagedLineError(f"the line has no {error}") from None
    if not (is_integer(seq) and seq >= 0 and type(kind) is type(time) is str and is_time(time)):
        raise DamagedLineError(f"the line says that it is event {seq!r} of kind {kind!r} at {time!r}")
    record.pop("v", None)
    return Event(sweep=sweep, source=source, seq=seq, time=time, fact=from_body(kind, record))


def is_unarchived(line: bytes) -> bool:
    """Whether a line is whole and of a kind that the ledger does not store, judged by its start only.

    :raises DamagedLineError: it is of such a kind, and torn or altered
    """
    start = _START.match(line)
    if start is None or fact_class(start[1].decode(errors="replace")).archived:
        return False
    _verified(line)
    return True


class JournalWriter:
    """Appends facts to one journal file.

    Not for two writers at once: an attempt's journal has one by exclusive creation, the control journal by the
    sweep's lock. After a failed write the file is cut back to its last whole line, so that the next fact does
    not join a torn one.

    :ivar found: what :meth:`resume` read
    """

    def __init__(self, descriptor: int, path: Path, *, seq: int, end: int, found: Sequence[Event] = ()) -> None:
        self._descriptor = descriptor
        self._file = os.fstat(descriptor)
        self._end = end
        self._unarchived = hashlib.sha256() if seq == 0 else None  # what was there before is not read again
        self.path = path
        self.seq = seq
        self.found = found

    @classmethod
    def create(cls, path: Path, *, durable: bool = True) -> JournalWriter:
        """Open a journal that does not exist yet.

        :param durable: return only once its name would survive a power cut
        :raises FileExistsError: it does
        """
        descriptor = open_new(path, os.O_WRONLY | os.O_EXCL | os.O_APPEND)
        if durable:
            sync_directory(path.parent)
        return cls(descriptor, path, seq=0, end=0)

    @classmethod
    def resume(cls, path: Path, confirm: Confirm, *, offset: int = 0, seq: int = 0) -> JournalWriter:
        """Open a journal, or create it, to append after its last whole line; an incomplete last line is cut off.

        :param confirm: of the lock that it is written under: see :mod:`hpcorch.journal.lock`
        :param offset: of whole lines that the caller has read already
        :param seq: of the line that comes after those
        :raises OSError: it cannot be opened
        :raises LockLostError: another process may have it by now; nothing was changed
        """
        from hpcorch.journal.reader import segment_in  # an attempt begins its own journal

        descriptor = _opened(path)
        try:
            confirm()
            with open(descriptor, "rb", closefd=False) as file:
                segment = segment_in(file, sweep="", source="", offset=offset)
            os.ftruncate(descriptor, segment.end)
        except BaseException:
            os.close(descriptor)
            raise
        seq = segment.events[-1].seq + 1 if segment.events else seq
        return cls(descriptor, path, seq=seq, end=segment.end, found=segment.events)

    def append(self, fact: Fact, *, durable: bool = False) -> None:
        """Write one fact.

        :param durable: return only once it would survive a power cut
        :raises OSError: it could not be written; the journal is as before
        """
        # By its kind: the class is loaded only if there are metrics.
        if fact.kind == "metrics-summarised" and self._unarchived is not None:
            assert isinstance(fact, events.MetricsSummarised)
            fact = replace(fact, logged=f"sha256:{self._unarchived.hexdigest()}")
        line = encode(fact, seq=self.seq, time=utc_now())
        if not self._is_open():
            self._open_again()
        try:
            write_all(self._descriptor, line)
            if durable:
                os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._end)
            raise
        if not fact.archived and self._unarchived is not None:
            self._unarchived.update(line)
        self._end += len(line)
        self.seq += 1

    def close(self) -> None:
        """Close the file; harmless when done twice."""
        if self._is_open():
            os.close(self._descriptor)
        self._descriptor = -1

    def _is_open(self) -> bool:
        """Whether the descriptor is this journal's still: a program may close those that it did not open."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._file)
        except OSError:
            return False

    def _open_again(self) -> None:
        descriptor = open_undelegated(self.path, os.O_WRONLY | os.O_APPEND)
        if not os.path.samestat(os.fstat(descriptor), self._file):
            os.close(descriptor)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self.path))
        self._descriptor = descriptor

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _opened(path: Path) -> int:
    """Open a journal for reading and appending; it is made if it is missing."""
    try:
        descriptor = open_undelegated(path, os.O_RDWR | os.O_APPEND)
    except FileNotFoundError:
        descriptor = open_new(path, os.O_RDWR | os.O_APPEND)
        sync_directory(path.parent)
    try:
        check_regular(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
