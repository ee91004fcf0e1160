"""Whether a ledger is what it claims to be: whole as a file, unbroken as a chain, true to its events.

Each examination reads a part of the ledger, so that several processes can share the work.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path

from hpcorch.ledger.schema.connection import QUERIES
from hpcorch.ledger.writing.expansion import RunSpan, SweepKey
from hpcorch.ledger.writing.ingest import GENESIS, link
from hpcorch.ledger.writing.projection import fold_span
from hpcorch.ledger.writing.rows import Row, digest_of
from hpcorch.ledger.writing.sweep_tables import fact_rows, fold_facts
from hpcorch.model.states import RunState
from hpcorch.quick_dataclasses import dataclass

# A damaged ledger differs in every later row; the first few are enough.
MAX_FINDINGS = 20

_STATES = {state.value: state for state in RunState}
_REMEDY = "`hpcorch ledger rebuild` rebuilds the tables from the events"

_DROP = "drop it"

# Tables that events are read from: nothing makes them anew.
_NOT_REBUILT = frozenset({"events", "sources", "sweep_ids"})

# What SQLite writes at the start of a file and leaves as it is, with the first free page and how many there are
# (https://sqlite.org/fileformat2.html, section 1.3). The rest it checks by itself, or writes anew each time.
_HEADER = struct.Struct(">18x2s12x2I4x4I4xI4x20s8x")
_HEADER_AS_MADE = (b"\1\1", 4, 0, 0, 1, 0, bytes(20))


class FindingKind(str, Enum):
    """The part of the ledger in which something is wrong."""

    FILE = "file"  # SQLite's own structure
    CHAIN = "chain"  # an event was altered, removed or moved
    PROJECTION = "projection"  # a derived table differs from what the events say


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, as a sentence."""

    kind: FindingKind
    text: str


def can_be_mended(finding: Finding) -> bool:
    """Whether the file can stay, since what the finding names puts it right."""
    return finding.text.endswith((_REMEDY, _DROP))


def check_file(connection: sqlite3.Connection) -> Iterator[Finding]:
    """What SQLite's own integrity check says."""
    try:
        rows = connection.execute(f"PRAGMA integrity_check({MAX_FINDINGS})").fetchall()
    except sqlite3.DatabaseError as error:
        rows = [(str(error),)]
    for (text,) in rows:
        if text != "ok":
            yield Finding(kind=FindingKind.FILE, text=f"the file is damaged: {text}")
    yield from _check_header(connection)
    yield from _check_schema(connection)
    for (sweep,) in connection.execute(QUERIES["ill_kept_sweeps"]):
        text = f"sweep {sweep}: the note of how its journals were read was altered; {_REMEDY}"
        yield Finding(kind=FindingKind.PROJECTION, text=text)


def _check_schema(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Tables, indexes, views and triggers that are not those of this version: a view may show other numbers."""
    from hpcorch.ledger.schema.migrations import names, noted, schema, schema_of  # loads sqlite-utils

    should, has = schema(), schema_of(connection)
    for name in sorted(should.keys() | has.keys()):
        if name not in should:
            text = f"{has[name].form} {name} is none of a ledger's: {_DROP}"
            yield Finding(kind=FindingKind.FILE, text=text)
        elif has.get(name) != should[name]:
            what = "was altered" if name in has else "is missing"
            remedy = "" if name in _NOT_REBUILT else f"; {_REMEDY}"
            yield Finding(kind=FindingKind.FILE, text=f"{should[name].form} {name} {what}{remedy}")
    if sorted(noted(connection)) != sorted((name, "") for name in names()):
        yield Finding(kind=FindingKind.FILE, text="the note of which migrations it has had was altered")


def _check_header(connection: sqlite3.Connection) -> Iterator[Finding]:
    """What SQLite's own check passes over: it would not write to such a file, or would find it damaged then."""
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    with Path(path).open("rb") as file:
        mode, first_free, free, *others = _HEADER.unpack(file.read(_HEADER.size))
    if (mode, *others) != _HEADER_AS_MADE or bool(first_free) != bool(free):
        yield Finding(kind=FindingKind.FILE, text="the header of the file was altered")


def check_chain(connection: sqlite3.Connection, first: int, last: int) -> Iterator[Finding]:
    """Every event of a stretch whose hash is not that of its content and its predecessor's hash."""
    before = connection.execute(QUERIES["hash_of"], (first - 1,)).fetchone()
    previous, expected = before[0] if before else GENESIS, first
    cursor = connection.execute(QUERIES["chain"], (first, last))
    for seq, source_seq, run, kind, time, body, stored, source, sweep in cursor:
        if seq != expected:
            yield _broken(f"events {expected} to {seq - 1} are missing")
        if link(previous, sweep, source, source_seq, run, kind, time, body) != stored:
            yield _broken(
                f"event {seq} ({kind} of {sweep}/{source}) or one before it was changed after it was stored"
            )
        # Going on from what is stored names each altered event once, and not all that follow it.
        previous, expected = stored, seq + 1
    if expected <= last:
        yield _broken(f"events {expected} to {last} are missing")


def _broken(text: str) -> Finding:
    return Finding(kind=FindingKind.CHAIN, text=text)


def check_sweep(connection: sqlite3.Connection, sweep: SweepKey) -> Iterator[Finding]:
    """What differs between a sweep's own tables and a fresh fold of its events, and whether rows are missing."""
    counted = dict(connection.execute(*_asked("counted_states", sweep)))
    if counted != dict(connection.execute(*_asked("tallies", sweep))):
        yield _untrue(sweep, "the counts of runs by state are wrong, or rows of runs are missing")
    told, found = connection.execute(*_asked("counted_attempts", sweep)).fetchone()
    if told != found:
        yield _untrue(sweep, f"attempts has {found} rows, and its runs tell of {told:.0f}")
    bases = [(sweep.key, *row) for row in connection.execute(*_asked("bases_of_sweep", sweep))]
    states = {_STATES[state]: runs for state, runs in counted.items() if state in _STATES}
    facts = fact_rows(sweep, fold_facts(connection, sweep), states)
    for table, rows in {**facts, "bases": bases}.items():
        yield from _unequal(connection, sweep, table, rows, (sweep.key,))


def _asked(query: str, sweep: SweepKey) -> tuple[str, Row]:
    return QUERIES[query], (sweep.key,)


def check_rows(connection: sqlite3.Connection, sweep: SweepKey, span: RunSpan) -> Iterator[Finding]:
    """Every row of runs and attempts that is not as it was folded, by its digest."""
    for table in ("runs", "attempts"):
        for row in connection.execute(QUERIES[f"all_{table}"], (sweep.key, *span)):
            if digest_of(row[:-1]) != row[-1]:
                yield _untrue(sweep, f"the row of {table} with key {row[1]} was changed after it was folded")


def check_folds(connection: sqlite3.Connection, sweep: SweepKey, span: RunSpan) -> Iterator[Finding]:
    """What differs between the rows of runs and attempts and a fresh fold of their events."""
    folded = fold_span(connection, sweep, span)
    for table, rows in (
        ("runs", [item.run for item in folded]),
        ("attempts", [row for item in folded for row in item.attempts]),
    ):
        yield from _unequal(connection, sweep, table, rows, (sweep.key, *span))


def _unequal(
    connection: sqlite3.Connection, sweep: SweepKey, table: str, rows: Sequence[Row], part: Row
) -> Iterator[Finding]:
    """What differs between the rows that part of a table should have and those that it has."""
    should, has = set(rows), set(connection.execute(QUERIES[f"all_{table}"], part))
    for row in sorted(should - has, key=lambda item: item[:2]):
        yield _untrue(sweep, f"the row of {table} with key {row[1]} is missing or not what its events say")
    if surplus := {row[1] for row in has - should} - {row[1] for row in should}:
        keys = ", ".join(map(str, sorted(surplus)[:MAX_FINDINGS]))
        yield _untrue(sweep, f"{table} has rows without events, with keys {keys}")


def _untrue(sweep: SweepKey, text: str) -> Finding:
    return Finding(kind=FindingKind.PROJECTION, text=f"sweep {sweep.id}: {text}; {_REMEDY}")
