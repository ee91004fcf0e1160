"""One event as one line of JSON with a checksum.

A line is an object ``{"v":1,"seq":…,"time":…,"kind":…,…,"crc":"xxxxxxxx"}`` in ASCII. ``crc`` comes last and
is the CRC-32 of all bytes before ``,"crc":``, so that a torn, zeroed or overwritten line is recognised without
a look at its neighbours, and the file stays readable by anything that reads JSON lines.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

from hpcorch.model.events import Event, Fact, fact_class, from_body, kind_of, to_body

FORMAT_VERSION = 1
_CRC_KEY = b',"crc":"'
_CRC_TAIL_LENGTH = len(_CRC_KEY) + 8 + len(b'"}')
_START = re.compile(rb'\{"v":\d+,"seq":\d+,"time":"[^"]*","kind":"([^"]*)"')


class DamagedLineError(ValueError):
    """The line is torn or was altered."""


def seal(record: dict[str, Any]) -> bytes:
    """A record as one checksummed line, newline included.

    :raises ValueError: the record holds something that JSON has no form for
    """
    body = json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii")[:-1]
    return body + _CRC_KEY + f"{zlib.crc32(body):08x}".encode() + b'"}\n'


def unseal(line: bytes) -> dict[str, Any]:
    """The record of a line, checksum verified and removed.

    :param line: one line without or with its newline
    :raises DamagedLineError: the line is not what was written
    """
    record: dict[str, Any] = json.loads(_verified(line) + b"}")
    return record


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
