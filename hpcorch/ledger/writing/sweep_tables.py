"""Projections of a sweep as a whole: its own row, launches, bases, submissions, and counts of runs by state."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from hpcorch.ledger.schema.connection import QUERIES
from hpcorch.ledger.writing.expansion import StoredEvent, SweepKey, launch_of
from hpcorch.ledger.writing.rows import Row, event_from, submission_from, submission_row, sweep_row
from hpcorch.model.entities import Submission
from hpcorch.model.events import BasePlanned, Event, LaunchPlanned, SweepCreated
from hpcorch.model.folding.sweep import fold_submissions
from hpcorch.model.states import RunState, sweep_state


@dataclass(slots=True)
class SweepFacts:
    """What the login side decided about a sweep as a whole, folded."""

    created: tuple[int, Event] | None = None
    launches: dict[int, tuple[int, LaunchPlanned]] = field(default_factory=dict)
    submissions: dict[int, Submission] = field(default_factory=dict)


def fold_facts(connection: sqlite3.Connection, sweep: SweepKey) -> SweepFacts:
    """Fold the control journal. The first fact about a sweep or launch counts; later ones change nothing."""
    facts = SweepFacts()
    events = []
    for row in connection.execute(QUERIES["events_of_sweep"], (sweep.key,)):
        event = event_from(sweep.id, row)
        events.append(event)
        _note(facts, row[0], event)
    facts.submissions = fold_submissions(events)
    return facts


def _note(facts: SweepFacts, seq: int, event: Event) -> None:
    if isinstance(event.fact, SweepCreated):
        facts.created = facts.created or (seq, event)
    elif isinstance(event.fact, LaunchPlanned):
        facts.launches.setdefault(event.fact.first_run, (seq, event.fact))


def fact_rows(sweep: SweepKey, facts: SweepFacts, tallies: Mapping[RunState, int]) -> dict[str, list[Row]]:
    """The rows of a sweep's own tables, by table."""
    created = facts.created
    state, runs = sweep_state(tallies), sum(tallies.values())
    return {
        "sweeps": [sweep_row(sweep.key, created[0], created[1], state, runs)] if created else [],
        "launches": [
            (sweep.key, number, seq, fact.count) for number, (seq, fact) in sorted(facts.launches.items())
        ],
        "submissions": [submission_row(sweep.key, item) for _, item in sorted(facts.submissions.items())],
    }


def put_facts(connection: sqlite3.Connection, sweep: SweepKey, facts: SweepFacts) -> None:
    """Write a sweep's own tables."""
    for table, rows in fact_rows(sweep, facts, read_tallies(connection, sweep)).items():
        connection.executemany(QUERIES[f"put_{table}"], rows)


def update_facts(connection: sqlite3.Connection, sweep: SweepKey, new: Iterable[StoredEvent]) -> set[int]:
    """Bring a sweep's own tables up to date with events of its control journal; the runs that they may change.

    Only what the events speak of is read back: a sweep may have ten thousand launches.
    """
    facts = SweepFacts()
    numbers: set[int] = set()
    for stored in sorted(new, key=lambda item: item.event.seq):
        _note(facts, stored.seq, stored.event)
        numbers.add(getattr(stored.event.fact, "submission", -1))
    told = connection.execute(QUERIES["events_of_submissions"], (json.dumps(sorted(numbers)), sweep.key))
    facts.submissions = fold_submissions([event_from(sweep.id, row) for row in told])
    put_facts(connection, sweep, facts)
    return {run for submission in facts.submissions.values() for run in submission.runs}


def submissions_of(connection: sqlite3.Connection, sweep: SweepKey, runs: Collection[int]) -> list[Submission]:
    """The submissions that include some of these runs, and perhaps others near."""
    if not runs:
        return []
    found = connection.execute(QUERIES["submissions_around"], (sweep.key, min(runs), max(runs)))
    return [submission_from(sweep.id, row) for row in found]


def put_base(connection: sqlite3.Connection, sweep: SweepKey, stored: StoredEvent) -> None:
    """Write which event a base's configuration is in."""
    assert isinstance(stored.event.fact, BasePlanned)
    row = (sweep.key, launch_of(stored.event.source), stored.event.fact.base, stored.seq)
    connection.execute(QUERIES["put_base"], row)


def read_tallies(connection: sqlite3.Connection, sweep: SweepKey) -> dict[RunState, int]:
    """How many runs of a sweep are in which state, as kept."""
    return {RunState(state): runs for state, runs in connection.execute(QUERIES["tallies"], (sweep.key,)) if runs}


def refresh_state(connection: sqlite3.Connection, sweep: SweepKey) -> None:
    """Set the state in the sweep's row from its counts."""
    connection.execute(QUERIES["drop_empty_tallies"], (sweep.key,))
    tallies = read_tallies(connection, sweep)
    connection.execute(QUERIES["set_sweep_state"], (sweep_state(tallies).value, sum(tallies.values()), sweep.key))
