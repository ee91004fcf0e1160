"""Projections: tables that are a pure function of the stored events of a sweep.

What new events touch is folded again from everything that is stored about it, so that the order in which
events arrive, and arriving twice, make no difference.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hpcorch.ledger.expansion import batch_of
from hpcorch.ledger.queries import QUERIES, script
from hpcorch.ledger.rows import Row, attempt_of, attempt_row, event_from, run_row
from hpcorch.ledger.stored import StoredEvent, SweepKey, sliced
from hpcorch.ledger.sweep_tables import SweepFacts, fold_facts, put_base, put_facts, refresh_state
from hpcorch.model.entities import Submission
from hpcorch.model.events import BasePlanned, Event, JobObserved, RunPlanned
from hpcorch.model.fold import EVIDENCE, RunEvidence, fold_run
from hpcorch.model.ids import AttemptId
from hpcorch.model.states import RunState

# Runs folded at a time: enough to make SQLite's calls cheap, few enough that their events fit in memory.
SLICE_RUNS = 10_000

_EVIDENCE = json.dumps([fact.kind for fact in EVIDENCE])


@dataclass(frozen=True, slots=True)
class RunRows:
    """The rows of one run."""

    run: Row
    attempts: list[Row]
    state: RunState


def update(connection: sqlite3.Connection, sweep: SweepKey, new: Sequence[StoredEvent], *, first_seq: int) -> int:
    """Bring the projections of a sweep up to date with events that were just stored; how many runs they touched.

    :param first_seq: the lowest seq that is in ``new``; what is stored below it is read back where needed
    :param new: all events of the sweep from ``first_seq`` on
    """
    by_run: dict[int, list[StoredEvent]] = defaultdict(list)
    decided = False
    touched: set[int] = set()
    for stored in new:
        if stored.run is not None:
            if isinstance(stored.event.fact, EVIDENCE):
                by_run[stored.run].append(stored)
        elif isinstance(stored.event.fact, BasePlanned):
            put_base(connection, sweep, stored)
        else:
            decided = True
            touched.add(getattr(stored.event.fact, "submission", -1))
    facts = fold_facts(connection, sweep)
    if decided:
        put_facts(connection, sweep, facts)
    runs = set(by_run)
    for number in touched & facts.submissions.keys():
        runs.update(facts.submissions[number].runs)
    written = _update_runs(connection, sweep, sorted(runs), facts.submissions, by_run, first_seq - 1)
    if written or decided:
        refresh_state(connection, sweep)
    return written


def _update_runs(
    connection: sqlite3.Connection,
    sweep: SweepKey,
    runs: Sequence[int],
    submissions: Mapping[int, Submission],
    known: Mapping[int, Sequence[StoredEvent]],
    last_stored: int,
) -> int:
    written = 0
    for some in sliced(runs, SLICE_RUNS):
        evidence = {run: list(known.get(run, ())) for run in some}
        for stored in _events_of(connection, sweep, some, last_stored):
            assert stored.run is not None
            evidence[stored.run].append(stored)
        rows = list(fold_runs(sweep, evidence, submissions))
        _write_runs(connection, sweep, some, rows)
        written += len(rows)
    return written


def _events_of(
    connection: sqlite3.Connection, sweep: SweepKey, runs: Sequence[int], last: int
) -> Iterator[StoredEvent]:
    if last <= 0:
        return
    for row in connection.execute(QUERIES["events_of_runs"], (json.dumps(runs), sweep.key, last, _EVIDENCE)):
        yield StoredEvent(row[0], row[1], attempt_of(row[2]), event_from(sweep.id, row))


def fold_runs(
    sweep: SweepKey, evidence: Mapping[int, Sequence[StoredEvent]], submissions: Mapping[int, Submission]
) -> Iterator[RunRows]:
    """The rows of runs, each from all that is known of it. Runs that were never planned have none."""
    serving = _submissions_of(evidence.keys(), submissions)
    for run, events in evidence.items():
        planned: StoredEvent | None = None
        observed: list[Event] = []
        attempts: dict[AttemptId, list[Event]] = {}
        for stored in events:
            if stored.attempt is not None:
                attempts.setdefault(stored.attempt, []).append(stored.event)
            elif isinstance(stored.event.fact, JobObserved):
                observed.append(stored.event)
            elif isinstance(stored.event.fact, RunPlanned):
                planned = stored if planned is None else min(planned, stored, key=_place)
        if planned is None:
            continue
        folded = fold_run(
            RunEvidence(
                planned=planned.event,
                batch=batch_of(planned.event.source),
                submissions=serving.get(run, ()),
                observed=observed,
                attempts=attempts,
            )
        )
        yield RunRows(
            run_row(sweep.key, planned.seq, folded.run),
            [attempt_row(sweep.key, attempt) for attempt in folded.attempts],
            folded.run.state,
        )


def _place(stored: StoredEvent) -> tuple[int, int]:
    return batch_of(stored.event.source), stored.event.seq


def _submissions_of(runs: Collection[int], submissions: Mapping[int, Submission]) -> dict[int, list[Submission]]:
    serving: dict[int, list[Submission]] = defaultdict(list)
    wanted = frozenset(runs)
    for submission in submissions.values():
        for run in wanted.intersection(submission.runs):
            serving[run].append(submission)
    return serving


def _write_runs(
    connection: sqlite3.Connection, sweep: SweepKey, runs: Sequence[int], rows: Sequence[RunRows]
) -> None:
    change: Counter[str] = Counter(row.state.value for row in rows)
    for _, state in connection.execute(QUERIES["states_of_runs"], (json.dumps(runs), sweep.key)):
        change[state] -= 1
    connection.executemany(QUERIES["put_run"], (row.run for row in rows))
    connection.executemany(QUERIES["put_attempt"], (attempt for row in rows for attempt in row.attempts))
    connection.executemany(
        QUERIES["add_to_tally"], [(sweep.key, state, count) for state, count in change.items() if count]
    )


def rebuild(connection: sqlite3.Connection) -> int:
    """Make every projection anew from the events alone, within the caller's transaction; how many runs."""
    for name in ("projections", "views"):
        for statement in script(name):
            connection.execute(statement)
    total = 0
    for key, sweep_id in connection.execute(QUERIES["sweep_keys"]).fetchall():
        sweep = SweepKey(id=sweep_id, key=key)
        facts = fold_facts(connection, sweep)
        put_facts(connection, sweep, facts)
        bases = connection.execute(QUERIES["bases_of_sweep"], (key,)).fetchall()
        connection.executemany(QUERIES["put_base"], [(key, *row) for row in bases])
        for some in sliced(runs_with_events(connection, sweep), SLICE_RUNS):
            total += _update_runs(connection, sweep, some, facts.submissions, {}, _EVERYTHING)
        refresh_state(connection, sweep)
    return total


def fold_all_runs(
    connection: sqlite3.Connection, sweep: SweepKey, facts: SweepFacts
) -> Iterator[tuple[int, list[RunRows]]]:
    """A fresh fold of all runs of a sweep, some at a time in order of their index, with the highest index covered.

    The last pair covers all that is left.
    """
    for some in sliced(runs_with_events(connection, sweep), SLICE_RUNS):
        evidence: dict[int, list[StoredEvent]] = {run: [] for run in some}
        for stored in _events_of(connection, sweep, some, _EVERYTHING):
            assert stored.run is not None
            evidence[stored.run].append(stored)
        yield some[-1], list(fold_runs(sweep, evidence, facts.submissions))
    yield _EVERYTHING, []


_EVERYTHING = (1 << 63) - 1


def runs_with_events(connection: sqlite3.Connection, sweep: SweepKey) -> list[int]:
    """The runs of a sweep that any event speaks of, in order."""
    return [run for (run,) in connection.execute(QUERIES["runs_with_events"], (sweep.key,))]
