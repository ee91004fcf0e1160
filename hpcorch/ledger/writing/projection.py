"""Projections: tables that are a pure function of the stored events of a sweep.

What new events touch is folded again from everything that is stored about it, so that the order in which
events arrive, and arriving twice, make no difference.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hpcorch import tunables
from hpcorch.ledger.schema.connection import QUERIES, script
from hpcorch.ledger.writing.expansion import EVERY_RUN, RunSpan, StoredEvent, SweepKey, launch_of, sliced
from hpcorch.ledger.writing.rows import Row, attempt_of, attempt_row, event_from, run_row
from hpcorch.ledger.writing.sweep_tables import (
    fold_facts,
    put_base,
    put_facts,
    refresh_state,
    submissions_of,
    update_facts,
)
from hpcorch.model.entities import Submission
from hpcorch.model.events import (
    CONTROL_SOURCE,
    LEDGER_SOURCE,
    BasePlanned,
    Event,
    Fact,
    JobObserved,
    MetricsSummarised,
    RunPlanned,
    RunReused,
)
from hpcorch.model.folding.evidence import EVIDENCE, LAST_WORDS, RunEvidence
from hpcorch.model.folding.run import fold_run
from hpcorch.model.ids import AttemptId
from hpcorch.model.states import RunState

_EVIDENCE = json.dumps([fact.kind for fact in EVIDENCE])


@dataclass(frozen=True, slots=True)
class RunRows:
    """The rows of one run."""

    run: Row
    attempts: list[Row]
    state: RunState


def update(connection: sqlite3.Connection, sweep: SweepKey, new: Sequence[StoredEvent], *, first_seq: int) -> int:
    """Update the projections of a sweep with newly stored events; returns how many runs they touched.

    :param first_seq: the lowest seq that is in ``new``; what is stored below it is read back where needed
    :param new: all events of the sweep from ``first_seq`` on
    """
    by_run: dict[int, list[StoredEvent]] = defaultdict(list)
    decided: list[StoredEvent] = []
    for stored in new:
        if stored.run is not None:
            if isinstance(stored.event.fact, EVIDENCE):
                by_run[stored.run].append(stored)
            elif isinstance(stored.event.fact, LAST_WORDS):
                by_run.setdefault(stored.run, [])  # the last one alone is read back
        elif isinstance(stored.event.fact, BasePlanned):
            put_base(connection, sweep, stored)
        elif stored.event.source in (CONTROL_SOURCE, LEDGER_SOURCE):
            decided.append(stored)
    touched = update_facts(connection, sweep, decided) if decided else set()
    written = _update_runs(connection, sweep, sorted(touched | by_run.keys()), by_run, first_seq - 1)
    if written or decided:
        refresh_state(connection, sweep)
    return written


def _update_runs(
    connection: sqlite3.Connection,
    sweep: SweepKey,
    runs: Sequence[int],
    known: Mapping[int, Sequence[StoredEvent]],
    last_stored: int,
) -> int:
    written = 0
    for some in sliced(runs, tunables.LEDGER_SLICE_RUNS):
        evidence = {run: list(known.get(run, ())) for run in some}
        for stored in _events_of(connection, sweep, some, last_stored):
            assert stored.run is not None
            evidence[stored.run].append(stored)
        rows = list(fold_runs(sweep, evidence, submissions_of(connection, sweep, some)))
        _write_runs(connection, sweep, some, rows)
        written += len(rows)
    return written


def _events_of(
    connection: sqlite3.Connection, sweep: SweepKey, runs: Sequence[int], last: int
) -> Iterator[StoredEvent]:
    """What the fold needs of some runs: evidence stored up to a seq, and the last words of their attempts."""
    wanted = json.dumps(runs)
    for query, values in (
        ("events_of_runs", (wanted, sweep.key, last, _EVIDENCE)),
        ("last_words_of_runs", (wanted, sweep.key)),
    ):
        for row in connection.execute(QUERIES[query], values):
            event = _in_short(sweep, row) if row[6] is None else event_from(sweep.id, row)
            yield StoredEvent(row[0], row[1], attempt_of(row[2]), event)


def _in_short(sweep: SweepKey, row: Row) -> Event:
    """An event as far as the run's row depends on it: that there is one, and where."""
    _, run, source, source_seq, time, kind, _ = row
    fact: Fact = MetricsSummarised(metrics={}) if kind == MetricsSummarised.kind else _plan_in_short(run)
    return Event(sweep=sweep.id, source=source, seq=source_seq, time=time, fact=fact)


def _plan_in_short(run: int) -> RunPlanned:
    return RunPlanned(
        run=run,
        base=0,
        overrides=[],
        params={},
        changes={},
        config_digest="",
        seed=0,
        seed_source="",
        directory="",
    )


def fold_runs(
    sweep: SweepKey, evidence: Mapping[int, Sequence[StoredEvent]], submissions: Iterable[Submission]
) -> Iterator[RunRows]:
    """The rows of runs, each from all that is known of it. Runs that were never planned have none."""
    serving = _serving(evidence.keys(), submissions)
    for run, events in evidence.items():
        planned: StoredEvent | None = None
        summary: StoredEvent | None = None
        reused: Event | None = None
        observed: list[Event] = []
        attempts: dict[AttemptId, list[Event]] = {}
        for stored in events:
            if stored.attempt is not None:
                attempts.setdefault(stored.attempt, []).append(stored.event)
                if isinstance(stored.event.fact, MetricsSummarised):
                    summary = stored if summary is None else max(summary, stored, key=_moment)
            elif isinstance(stored.event.fact, JobObserved):
                observed.append(stored.event)
            elif isinstance(stored.event.fact, RunReused):
                reused = stored.event
            elif isinstance(stored.event.fact, RunPlanned):
                planned = stored if planned is None else min(planned, stored, key=_place)
        if planned is None:
            continue
        folded = fold_run(
            RunEvidence(
                planned=planned.event,
                launch=launch_of(planned.event.source),
                submissions=serving.get(run, ()),
                observed=observed,
                reused=reused,
                attempts=attempts,
            )
        )
        yield RunRows(
            run_row(sweep.key, planned.seq, summary and summary.seq, folded.run),
            [attempt_row(sweep.key, attempt) for attempt in folded.attempts],
            folded.run.state,
        )


def _place(stored: StoredEvent) -> tuple[int, int]:
    return launch_of(stored.event.source), stored.event.seq


def _moment(stored: StoredEvent) -> tuple[AttemptId, int]:
    assert stored.attempt is not None
    return stored.attempt, stored.event.seq


def _serving(runs: Collection[int], submissions: Iterable[Submission]) -> dict[int, list[Submission]]:
    serving: dict[int, list[Submission]] = defaultdict(list)
    wanted = frozenset(runs)
    for submission in submissions:
        for run in wanted.intersection(submission.runs):
            serving[run].append(submission)
    return serving


def _write_runs(
    connection: sqlite3.Connection, sweep: SweepKey, runs: Sequence[int], rows: Sequence[RunRows]
) -> None:
    had: dict[int, tuple[str, bytes]] = {
        run: (state, digest)
        for run, state, digest in connection.execute(QUERIES["rows_of_runs"], (json.dumps(runs), sweep.key))
    }
    change: Counter[str] = Counter(row.state.value for row in rows)
    change.subtract(state for state, _ in had.values())
    # Slurm's confirmation of a run's end, the commonest news, changes its attempt alone.
    changed = (row.run for row in rows if had.get(row.run[1], ("", b""))[1] != row.run[-1])
    connection.executemany(QUERIES["put_run"], changed)
    connection.executemany(QUERIES["put_attempt"], (attempt for row in rows for attempt in row.attempts))
    connection.executemany(
        QUERIES["add_to_tally"], [(sweep.key, state, count) for state, count in change.items() if count]
    )


def rebuild(connection: sqlite3.Connection) -> int:
    """Rebuild every projection from the events, within the caller's transaction; returns how many runs."""
    for name in ("projections", "views"):
        for statement in script(name):
            connection.execute(statement)
    total = 0
    for key, sweep_id in connection.execute(QUERIES["sweep_keys"]).fetchall():
        sweep = SweepKey(id=sweep_id, key=key)
        put_facts(connection, sweep, fold_facts(connection, sweep))
        bases = connection.execute(QUERIES["bases_of_sweep"], (key,)).fetchall()
        connection.executemany(QUERIES["put_base"], [(key, *row) for row in bases])
        for some in sliced(runs_with_events(connection, sweep, EVERY_RUN), tunables.LEDGER_SLICE_RUNS):
            total += _update_runs(connection, sweep, some, {}, _EVERYTHING)
        refresh_state(connection, sweep)
    return total


def fold_span(connection: sqlite3.Connection, sweep: SweepKey, span: RunSpan) -> list[RunRows]:
    """A fresh fold of some runs of a sweep, in order of their index."""
    runs = runs_with_events(connection, sweep, span)
    evidence: dict[int, list[StoredEvent]] = {run: [] for run in runs}
    for stored in _events_of(connection, sweep, runs, _EVERYTHING):
        assert stored.run is not None
        evidence[stored.run].append(stored)
    return list(fold_runs(sweep, evidence, submissions_of(connection, sweep, runs)))


_EVERYTHING = (1 << 63) - 1


def runs_with_events(connection: sqlite3.Connection, sweep: SweepKey, span: RunSpan) -> list[int]:
    """The runs of a sweep that any event is about, in order."""
    return [run for (run,) in connection.execute(QUERIES["runs_with_events"], (sweep.key, *span))]
