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

from hpcorch.model.events import Event, Fact, fact_class, from_body, is_integer, kind_of, to_body
from hpcorch.model.ids import is_time

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
