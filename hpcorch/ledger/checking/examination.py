"""A whole check: a snapshot, cut into parts that several processes examine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import chain, islice, pairwise
from pathlib import Path

from hpcorch import tunables
from hpcorch.ledger.checking.check import (
    MAX_FINDINGS,
    Finding,
    FindingKind,
    check_chain,
    check_file,
    check_folds,
    check_rows,
    check_sweep,
)
from hpcorch.ledger.schema.connection import QUERIES, connect_reader
from hpcorch.ledger.writing.expansion import EVERY_RUN, RunSpan, SweepKey, collector_paused
from hpcorch.ledger.writing.ingest import head
from hpcorch.ledger.writing.projection import runs_with_events

Part = Callable[[sqlite3.Connection], Iterator[Finding]]


_UNREADABLE = (sqlite3.DatabaseError, ValueError, LookupError, TypeError, AttributeError, AssertionError)


def examine(path: Path, *, deep: bool, processes: int) -> list[Finding]:
    """The first :data:`MAX_FINDINGS` errors of a ledger.

    :param path: of a copy that nobody writes to
    :param deep: fold all runs afresh, instead of trusting each row's digest
    :param processes: at most so many at once; a small ledger is examined in this one
    """
    with closing(connect_reader(path)) as connection:
        try:
            parts = _parts(connection, deep=deep)
            some = min(processes, 1 + head(connection)[0] // tunables.LEDGER_PART_EVENTS)
        except _UNREADABLE:
            return _examined(connection, check_file) or [_unreadable("it")]
    with closing(_in_turn(path, parts) if some < 2 else _at_once(path, parts, some)) as found:
        return list(islice(chain.from_iterable(found), MAX_FINDINGS))


def _parts(connection: sqlite3.Connection, *, deep: bool) -> list[Part]:
    parts: list[Part] = [check_file]  # it cannot be split and takes longest, so it comes first
    last, _ = head(connection)
    stretches = (
        (first, min(first + tunables.LEDGER_PART_EVENTS - 1, last))
        for first in range(1, last + 1, tunables.LEDGER_PART_EVENTS)
    )
    parts += [partial(check_chain, first=first, last=end) for first, end in stretches]
    check_runs = check_folds if deep else check_rows
    for key, sweep_id in connection.execute(QUERIES["sweep_keys"]).fetchall():
        sweep = SweepKey(id=sweep_id, key=key)
        parts.append(partial(check_sweep, sweep=sweep))
        parts += [partial(check_runs, sweep=sweep, span=span) for span in _spans(connection, sweep)]
    return parts


def _spans(connection: sqlite3.Connection, sweep: SweepKey) -> Iterator[RunSpan]:
    """Spans of about as many runs each, which together cover whatever index a row may have."""
    edges = runs_with_events(connection, sweep, EVERY_RUN)[
        tunables.LEDGER_SLICE_RUNS - 1 :: tunables.LEDGER_SLICE_RUNS
    ]
    for above, through in pairwise([EVERY_RUN.above, *edges, EVERY_RUN.through]):
        yield RunSpan(above, through)


def _in_turn(path: Path, parts: Sequence[Part]) -> Generator[list[Finding], None, None]:
    with closing(_connect(path)) as connection:
        for part in parts:
            yield _examined(connection, part)


def _at_once(path: Path, parts: Sequence[Part], processes: int) -> Generator[list[Finding], None, None]:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # Not forked: SQLite forbids a connection to cross a fork (https://sqlite.org/howtocorrupt.html, section 2.6).
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(_examine_part, [path] * len(parts), parts)
        finally:
            pool.shutdown(cancel_futures=True)


def _examine_part(path: Path, part: Part) -> list[Finding]:
    with closing(_connect(path)) as connection:
        return _examined(connection, part)


def _connect(path: Path) -> sqlite3.Connection:
    connection = connect_reader(path)
    # Text that was altered may be none any more. What the ledger stores is ASCII, so this equals nothing in it.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    return connection


def _examined(connection: sqlite3.Connection, part: Part) -> list[Finding]:
    found: list[Finding] = []
    with collector_paused():
        try:
            found.extend(islice(part(connection), MAX_FINDINGS))
        except _UNREADABLE as error:  # what an altered event or row makes of the code that reads it
            found.append(_unreadable(f"a part of it ({error})"))
    return found


def _unreadable(what: str) -> Finding:
    return Finding(kind=FindingKind.FILE, text=f"{what} cannot be examined")
