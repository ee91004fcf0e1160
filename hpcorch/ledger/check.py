"""Whether a ledger is what it claims to be: whole as a file, unbroken as a chain, true to its events."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from hpcorch.ledger.chain import GENESIS, link
from hpcorch.ledger.projection import fold_all_runs
from hpcorch.ledger.queries import QUERIES
from hpcorch.ledger.rows import Row
from hpcorch.ledger.stored import SweepKey
from hpcorch.ledger.sweep_tables import fact_rows, fold_facts, read_tallies
from hpcorch.model.states import RunState

# A damaged ledger differs in every later row; nobody reads more than the first few.
MAX_FINDINGS = 20


class FindingKind(str, Enum):
    """What part of the ledger is not as it should be."""

    FILE = "file"  # SQLite's own structure
    CHAIN = "chain"  # an event was altered, removed or moved
    PROJECTION = "projection"  # a derived table differs from what the events say


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, as a sentence."""

    kind: FindingKind
    text: str


def check_file(connection: sqlite3.Connection) -> Iterator[Finding]:
    """What SQLite's own integrity check says."""
    try:
        rows = connection.execute(f"PRAGMA integrity_check({MAX_FINDINGS})").fetchall()
    except sqlite3.DatabaseError as error:
        rows = [(str(error),)]
    for (text,) in rows:
        if text != "ok":
            yield Finding(kind=FindingKind.FILE, text=f"the file is damaged: {text}")


def check_chain(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Every event whose hash is not that of its content and its predecessor's hash."""
    previous, expected = GENESIS, 1
    cursor = connection.execute(QUERIES["chain"])
    for seq, source_seq, run, kind, time, body, stored, source, sweep in cursor:
        if seq != expected:
            yield _broken(f"events {expected} to {seq - 1} are missing")
        if link(previous, sweep, source, source_seq, run, kind, time, body) != stored:
            yield _broken(
                f"event {seq} ({kind} of {sweep}/{source}) is not what was stored, or one before it is not"
            )
        # Going on from what is stored names each altered event once, and not all that follow it.
        previous, expected = stored, seq + 1


def _broken(text: str) -> Finding:
    return Finding(kind=FindingKind.CHAIN, text=text)


def check_projections(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Every sweep whose tables differ from a fresh fold of its events."""
    for key, sweep_id in connection.execute(QUERIES["sweep_keys"]).fetchall():
        for text in _differences(connection, SweepKey(id=sweep_id, key=key)):
            yield Finding(
                kind=FindingKind.PROJECTION,
                text=f"sweep {sweep_id}: {text}; `hpcorch ledger rebuild` makes the tables anew from the events",
            )


def _differences(connection: sqlite3.Connection, sweep: SweepKey) -> Iterator[str]:
    facts = fold_facts(connection, sweep)
    states: Counter[RunState] = Counter()
    below = -1
    for through, folded in fold_all_runs(connection, sweep, facts):
        states.update(item.state for item in folded)
        for table, rows in (
            ("runs", [item.run for item in folded]),
            ("attempts", [row for item in folded for row in item.attempts]),
        ):
            yield from _unequal(connection, table, rows, (sweep.key, below, through))
        below = through
    if read_tallies(connection, sweep) != states:
        yield "the counts of runs by state are wrong"
    bases = [(sweep.key, *row) for row in connection.execute(QUERIES["bases_of_sweep"], (sweep.key,))]
    for table, rows in {**fact_rows(sweep, facts, states), "bases": bases}.items():
        yield from _unequal(connection, table, rows, (sweep.key,))


def _unequal(connection: sqlite3.Connection, table: str, rows: Sequence[Row], part: Row) -> Iterator[str]:
    """What differs between the rows that part of a table should have and those that it has."""
    should, has = set(rows), set(connection.execute(QUERIES[f"all_{table}"], part))
    for row in sorted(should - has, key=lambda item: item[:2]):
        yield f"the row of {table} with key {row[1]} is missing or not what its events say"
    if surplus := {row[1] for row in has - should} - {row[1] for row in should}:
        yield f"{table} has rows without events, with keys {', '.join(map(str, sorted(surplus)[:MAX_FINDINGS]))}"
