"""Tolerant, incremental reading of journals.

A network file system may show a file's tail late, or as NUL bytes. So reading stops at the first line that is
not whole and says where good data ends; whether the rest is waited for or given up is the caller's to decide,
who knows whether the writer may still live.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from hpcorch.errors import RecordError, RecordGoneError
from hpcorch.journal.files import open_regular, whole_lines
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lines import DamagedLineError, decode, is_unarchived
from hpcorch.model.events import CONTROL_SOURCE, Event, SweepCreated
from hpcorch.model.ids import AttemptId
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """New events of one source.

    :param start: byte offset that reading began at
    :param end: byte offset behind the last whole line; reading goes on there
    :param rest: bytes behind ``end`` that are not a whole line (yet)
    """

    source: str
    events: tuple[Event, ...]
    start: int
    end: int
    rest: int


def read_segment(
    path: Path, *, sweep: str, source: str, offset: int, until: int | None = None, archived_only: bool = False
) -> Segment:
    """Read the whole lines of a journal from ``offset`` on.

    :param until: byte offset to stop before; None for all there is
    :param archived_only: verify and pass over what the ledger does not store, such as logged metrics
    :raises OSError: the file cannot be read
    """
    with open_regular(path) as file:
        return segment_in(file, sweep=sweep, source=source, offset=offset, until=until, archived_only=archived_only)


def segment_in(
    file: BinaryIO,
    *,
    sweep: str,
    source: str,
    offset: int,
    until: int | None = None,
    archived_only: bool = False,
) -> Segment:
    """As :func:`read_segment`, of a journal that is open."""
    events: list[Event] = []
    good = offset
    size = os.fstat(file.fileno()).st_size
    stop = size if until is None else min(until, size)
    file.seek(offset)
    for line in whole_lines(file):
        if until is not None and good + len(line) > until:
            break
        try:
            if not (archived_only and is_unarchived(line)):
                events.append(decode(line, sweep=sweep, source=source))
        except DamagedLineError:
            break
        good += len(line)
    return Segment(source=source, events=tuple(events), start=offset, end=good, rest=max(0, stop - good))


def read_sweep(
    layout: SweepLayout, *, sweep: str, offsets: Mapping[str, int], ended: Collection[AttemptId] = ()
) -> Iterator[Segment]:
    """New events of a sweep's control journal and of all its attempt journals, the control journal first.

    What the ledger does not store is passed over.

    :param offsets: source -> where to go on reading; sources that are not named are read from the start.
        A source whose file has not grown is not opened.
    :param ended: attempts from whose journals something is concluded now: these are opened, since a network file
        system may show for up to a minute that a file has not grown
    :raises OSError: the sweep directory cannot be read
    """
    yield read_segment(layout.control, sweep=sweep, source=CONTROL_SOURCE, offset=offsets.get(CONTROL_SOURCE, 0))
    for attempt in layout.attempts():
        path, source = layout.journal(attempt), str(attempt)
        offset = offsets.get(source, 0)
        if attempt in ended or path.stat().st_size > offset:
            yield read_segment(path, sweep=sweep, source=source, offset=offset, archived_only=True)


def owner(layout: SweepLayout) -> str | None:
    """The id of the sweep whose record lies there; None if there is no record, or its first event is not whole."""
    created = creation_of(layout)
    return created.sweep if created is not None else None


def creation_of(layout: SweepLayout) -> SweepCreated | None:
    """The first fact of the record that lies there; None if there is no record, or its first event is not whole.

    :raises OSError: it cannot be read
    """
    try:
        with open_regular(layout.control) as file:
            first = next(whole_lines(file), b"")
        fact = decode(first, sweep="", source=CONTROL_SOURCE).fact
    except (FileNotFoundError, NotADirectoryError, DamagedLineError):
        return None
    return fact if isinstance(fact, SweepCreated) else None


def locate(directory: Path, sweep: str) -> SweepLayout:
    """The record of a sweep in its directory, in place or set aside. A directory is believed by its record alone.

    :raises RecordGoneError: it is not there
    :raises RecordError: a record is there that is damaged where it says whose it is
    """
    layout = SweepLayout(directory)
    found = owner(layout)
    for candidate in (layout, *layout.set_aside_records()):
        if (found if candidate is layout else owner(candidate)) == sweep:
            return candidate
    if found is None and layout.control.exists():
        raise RecordError(
            f"the control journal {layout.control} does not say which sweep it is of: it was damaged. `hpcorch"
            f" audit {sweep}` compares it with the ledger"
        )
    if found is not None:
        raise RecordGoneError(f"{directory} holds the record of sweep {found}")
    raise RecordGoneError(f"its record is missing in {directory}")
