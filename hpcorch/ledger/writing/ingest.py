"""Appending events to the chain: idempotent, incremental, and complete at every commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from hpcorch import tunables
from hpcorch.journal.reader import Segment
from hpcorch.ledger.schema.connection import QUERIES, LedgerConnection, transaction
from hpcorch.ledger.writing.expansion import (
    Manifests,
    StoredEvent,
    SweepKey,
    collector_paused,
    expand,
    sliced,
    source_of,
)
from hpcorch.ledger.writing.projection import update
from hpcorch.ledger.writing.rows import Row, attempt_of, event_content, run_of
from hpcorch.model.events import LEDGER_SOURCE, Event, Fact, LaunchPlanned
from hpcorch.model.ids import utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestResult:
    """What one ingestion added.

    :param events: events that were not stored before
    :param runs: how often a run was folded again
    """

    events: int
    runs: int


@dataclass(frozen=True, slots=True)
class _Step:
    """Events of one source, and how far that source is read once they are stored; None: unchanged."""

    source: str
    events: Sequence[Event]
    read: tuple[int, int] | None = None
    settled: bool = False


@dataclass(slots=True)
class _Source:
    """A source as the ledger knows it, and whether this transaction made it."""

    key: int
    offset: int
    fresh: bool


def ingest(
    connection: LedgerConnection,
    sweep_id: str,
    segments: Iterable[Segment],
    manifests: Manifests,
    *,
    looked: bool = True,
) -> IngestResult:
    """Store what is new in segments of a sweep, and fold it. The caller holds the ledger's lock.

    Each transaction stores whole facts with what follows from them, and an offset only after everything before
    it, so that a death in between costs a second reading and nothing else.
    """
    events = runs = 0
    sweep = _sweep_key(connection, sweep_id)
    with collector_paused():
        for steps in _chunks(_steps(connection, sweep, segments, manifests)):
            with transaction(connection):
                first, new = _append(connection, sweep, steps)
                events += len(new)
                runs += update(connection, sweep, new, first_seq=first) if new else 0
    if looked:
        with transaction(connection):
            connection.execute(QUERIES["set_looked_at"], (utc_now(), sweep.key))
    return IngestResult(events=events, runs=runs)


def record(connection: LedgerConnection, sweep_id: str, facts: Sequence[Fact]) -> None:
    """Store facts of which no journal of the sweep tells, and fold them. The caller holds the ledger's lock."""
    source = connection.execute(QUERIES["source"], (_sweep_key(connection, sweep_id).key, LEDGER_SOURCE)).fetchone()
    start = source[1] if source is not None else 0  # of this source the offset counts events
    events = tuple(
        Event(sweep=sweep_id, source=LEDGER_SOURCE, seq=start + number, time=utc_now(), fact=fact)
        for number, fact in enumerate(facts)
    )
    segment = Segment(source=LEDGER_SOURCE, events=events, start=start, end=start + len(events), rest=0)
    ingest(connection, sweep_id, [segment], lambda _: ())


def _sweep_key(connection: LedgerConnection, sweep_id: str) -> SweepKey:
    row = connection.execute(QUERIES["sweep_key"], (sweep_id,)).fetchone()
    if row is None:
        with transaction(connection):
            row = (connection.execute(QUERIES["add_sweep_key"], (sweep_id,)).lastrowid,)
    return SweepKey(id=sweep_id, key=row[0])


def _steps(
    connection: sqlite3.Connection, sweep: SweepKey, segments: Iterable[Segment], manifests: Manifests
) -> Iterator[_Step]:
    """Segments, with the manifest of each launch that one tells of put before the offset behind it."""
    for segment in segments:
        launches = [event for event in segment.events if isinstance(event.fact, LaunchPlanned)]
        reach = (segment.start, segment.end)
        if not launches:
            yield _Step(segment.source, segment.events, reach)
            continue
        yield _Step(segment.source, segment.events)
        for launch in launches:
            yield from _expanded(connection, sweep, launch, manifests)
        yield _Step(segment.source, (), reach)


def _expanded(
    connection: sqlite3.Connection, sweep: SweepKey, launch: Event, manifests: Manifests
) -> Iterator[_Step]:
    assert isinstance(launch.fact, LaunchPlanned)
    source = source_of(launch.fact)
    row = connection.execute(QUERIES["source"], (sweep.key, source)).fetchone()
    if row is not None and row[2]:
        return
    for some in sliced(expand(launch, manifests(launch.fact)), tunables.LEDGER_CHUNK_EVENTS // 2):
        yield _Step(source, some)
    yield _Step(source, (), settled=True)


def _chunks(steps: Iterable[_Step]) -> Iterator[list[_Step]]:
    chunk: list[_Step] = []
    size = 0
    for step in steps:
        chunk.append(step)
        size += len(step.events) + 1
        if size >= tunables.LEDGER_CHUNK_EVENTS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _append(
    connection: sqlite3.Connection, sweep: SweepKey, steps: Sequence[_Step]
) -> tuple[int, list[StoredEvent]]:
    """Add the events that are not stored yet to the chain, and move the offsets; the first seq and the events."""
    sources = _sources(connection, sweep, steps)
    seq, previous = head(connection)
    first = seq + 1
    new: list[StoredEvent] = []
    rows: list[Row] = []
    for step, events in _unknown(connection, sources, steps):
        attempt = attempt_of(step.source)
        key = sources[step.source].key
        for event in events:
            seq += 1
            run = run_of(event, attempt)
            kind, time, body = event_content(event)
            previous = link(previous, sweep.id, step.source, event.seq, run, kind, time, body)
            rows.append((seq, key, event.seq, sweep.key, run, kind, time, body, previous))
            new.append(StoredEvent(seq, run, attempt, event))
    connection.executemany(QUERIES["add_event"], rows)
    _move_offsets(connection, sources, steps)
    return first, new


def head(connection: sqlite3.Connection) -> tuple[int, bytes]:
    """The last event's seq and hash; of an empty ledger, 0 and the hash that the chain starts from."""
    row = connection.execute(QUERIES["head"]).fetchone()
    return (row[0], row[1]) if row else (0, GENESIS)


def _sources(connection: sqlite3.Connection, sweep: SweepKey, steps: Sequence[_Step]) -> dict[str, _Source]:
    sources: dict[str, _Source] = {}
    last: int = connection.execute(QUERIES["last_source"]).fetchone()[0]
    made: list[Row] = []
    for name in {step.source: None for step in steps}:
        row = connection.execute(QUERIES["source"], (sweep.key, name)).fetchone()
        if row is None:
            last += 1
            made.append((last, sweep.key, name))
            row = (last, 0)
        # A negative one is damage, and what was read already may be read again.
        sources[name] = _Source(key=row[0], offset=max(0, row[1]), fresh=row[0] == last and bool(made))
    connection.executemany(QUERIES["add_source"], made)
    return sources


def _unknown(
    connection: sqlite3.Connection, sources: dict[str, _Source], steps: Sequence[_Step]
) -> Iterator[tuple[_Step, list[Event]]]:
    """The events of each step that are to be stored, and are neither stored yet nor in a step before."""
    seen: dict[str, set[int]] = {}
    for step in steps:
        archived = [event for event in step.events if event.fact.archived]
        if not archived:
            continue
        known = seen.setdefault(step.source, set())
        source = sources[step.source]
        if not source.fresh:
            numbers = [event.seq for event in archived]
            stored = connection.execute(QUERIES["known_events"], (source.key, min(numbers), max(numbers)))
            known.update(number for (number,) in stored)
        events = []
        for event in archived:
            if event.seq not in known:
                known.add(event.seq)
                events.append(event)
        yield step, events


def _move_offsets(connection: sqlite3.Connection, sources: dict[str, _Source], steps: Sequence[_Step]) -> None:
    """Move each offset as far as reading was without a gap; a segment behind a gap will be read again."""
    settled: set[str] = set()
    for step in steps:
        source = sources[step.source]
        if step.read is not None and step.read[0] <= source.offset < step.read[1]:
            source.offset = step.read[1]
        if step.settled:
            settled.add(step.source)
    connection.executemany(
        QUERIES["set_offset"], [(source.offset, name in settled, source.key) for name, source in sources.items()]
    )


GENESIS = bytes(32)


def link(
    previous: bytes, sweep: str, source: str, source_seq: int, run: int | None, kind: str, time: str, body: str
) -> bytes:
    """The hash of an event, 32 bytes.

    NUL separates the parts: JSON text holds none, and neither do names that come from file names.
    """
    return sha256(previous + f"{sweep}\0{source}\0{source_seq}\0{run}\0{kind}\0{time}\0{body}".encode()).digest()
