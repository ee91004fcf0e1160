"""Which bytes of an SQLite file mean something (https://sqlite.org/fileformat2.html)."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

HEADER = "file header"
_FILE_HEADER = 100
_INTERIOR, _TREES = (2, 5), (2, 5, 10, 13)


class Stretch(NamedTuple):
    """Bytes of a file: of which table or index, from where, and to before where."""

    owner: str
    start: int
    end: int


def stretches(path: Path) -> Iterator[Stretch]:
    """The file's header, and of each page its own with pointers to cells, and the cells: all but what is free."""
    content = path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        owners = {number: name for name, number in connection.execute("SELECT name, pageno FROM dbstat")}
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    yield Stretch(HEADER, 0, _FILE_HEADER)
    for number in range(1, len(content) // size + 1):
        yield from (Stretch(owners[number], *ends) for ends in _used(content, (number - 1) * size, size))


def _used(content: bytes, page: int, size: int) -> Iterator[tuple[int, int]]:
    header = page + (0 if page else _FILE_HEADER)
    kind, free, cells, first = struct.unpack_from(">BHHH", content, header)
    if kind not in _TREES:  # the rest of a long row
        yield page, page + size
        return
    yield header, header + (12 if kind in _INTERIOR else 8) + 2 * cells
    at = page + first
    while free:
        following, length = struct.unpack_from(">HH", content, page + free)
        yield at, page + free
        at, free = page + free + length, following
    yield at, page + size
