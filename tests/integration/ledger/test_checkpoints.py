"""Checkpoints, metrics and keepers in the ledger; what stays in journals alone."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hpcorch.journal.files import nothing_to_confirm
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lines import JournalWriter
from hpcorch.journal.reader import Segment, read_segment, read_sweep
from hpcorch.journal.sweep_folder import take
from hpcorch.ledger import Ledger, manifests_in
from hpcorch.ledger.checking.check import FindingKind
from hpcorch.ledger.schema.connection import QUERIES
from hpcorch.model import events as ev
from hpcorch.model.ids import AttemptId
from hpcorch.services.reports.attempt_history import history_of
from tests.support.events import (
    SWEEP,
    attempt,
    created,
    cut,
    launch,
    plan_of,
    segment,
    submitted,
    tables,
    write_plan,
)


def saved(step: int, *, restart: int = 0, removed: int | None = None) -> ev.CheckpointSaved:
    gone = [] if removed is None else [f"c/0/{removed}.r0"]
    return ev.CheckpointSaved(
        step=step, file=f"c/0/{step}.r{restart}", size=10, digest=f"sha256:{step}", seconds=0.1, removed=gone
    )


def summary(step: int, loss: float | str) -> ev.MetricsSummarised:
    parts = {"last": [step, loss], "min": [1, 0.25], "max": [2, 4.0]}
    return ev.MetricsSummarised(metrics={"loss": parts, "odd": {"last": [step, "nan"]}})


def logged(*steps: int) -> ev.MetricsLogged:
    return ev.MetricsLogged(entries=[[step, {"loss": step / 2}] for step in steps])


BROKEN = ev.CheckpointRejected(file="c/0/30.r0", reason="its digest is another")
RESTORED = ev.CheckpointRestored(step=20, file="c/0/20.r0", digest="sha256:20", attempt="0.s0.r0", generators=[])
FULL = ev.CheckpointFailed(step=50, reason="no space left")


def sources() -> list[Segment]:
    """A sweep whose run 0 was interrupted, went on from its second checkpoint, and completed."""
    begun = attempt()[:4]
    first = [
        *begun,
        logged(1, 2),
        saved(10),
        summary(10, 0.5),
        saved(20),
        saved(30, removed=10),
        summary(30, "inf"),
    ]
    second = [*begun, BROKEN, RESTORED, logged(21), summary(21, 0.75), saved(40, restart=1), FULL, attempt(0.5)[-1]]
    control = [created(), launch(2), *submitted(0, "0-1"), ev.KeeperSubmitted(submission=0, job_id="4712")]
    return [segment("control", control), segment("0.s0.r0", first), segment("0.s0.r1", second)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "ledger.db"
    with Ledger.open(place, write=True, create=True) as ledger:
        ledger.ingest(SWEEP, sources(), plan_of)
    return place


def test_ledger_shows_each_attempt_with_the_checkpoint_that_it_started_from(path: Path) -> None:
    with Ledger.open(path) as ledger:
        first, second = ledger.attempts(SWEEP, 0)
        assert (first.restored_from, first.checkpoint_step, first.checkpoint) == (None, 30, "c/0/30.r0")
        assert (second.restored_from, second.restored_step, second.checkpoint_step) == ("0.s0.r0", 20, 40)
        sql = "SELECT restart, restored_from, restored_step, checkpoint_step FROM v_attempts ORDER BY restart"
        assert ledger.query(sql).rows == [(0, None, None, 30), (1, "0.s0.r0", 20, 40)]
        assert ledger.submissions(SWEEP)[0].keeper == "4712"
        assert ledger.query("SELECT keeper FROM v_submissions").rows == [("4712",)]


def test_views_of_checkpoints_and_metrics(path: Path) -> None:
    with Ledger.open(path) as ledger:
        found = ledger.query(
            "SELECT run, submission, restart, step, file, size, digest, state FROM v_checkpoints ORDER BY step"
        )
        assert found.rows == [
            (0, 0, 0, 10, "c/0/10.r0", 10, "sha256:10", "removed"),
            (0, 0, 0, 20, "c/0/20.r0", 10, "sha256:20", "kept"),
            (0, 0, 0, 30, "c/0/30.r0", 10, "sha256:30", "broken"),
            (0, 0, 1, 40, "c/0/40.r1", 10, "sha256:40", "kept"),
        ]
        history = history_of(ledger.events(SWEEP, 0))
        assert [(one.step, one.state.value) for one in history.saved] == [(row[3], row[7]) for row in found.rows]
        assert [(one.attempt, one.problem) for one in history.troubles] == [
            ("s0.r1", "broken"),
            ("s0.r1", "failed"),
        ]
        metrics = ledger.query("SELECT * FROM v_metrics ORDER BY name")
        assert metrics.columns == (
            *("sweep", "run", "name", "last", "last_step", "min", "min_step", "max", "max_step"),
        )
        assert metrics.rows == [
            (SWEEP, 0, "loss", 0.75, 21, 0.25, 1, 4.0, 2),
            (SWEEP, 0, "odd", None, 21, None, None, None, None),
        ]
        assert ledger.run(SWEEP, 0).metrics == summary(21, 0.75).metrics
        assert [run.metrics for run in ledger.runs(SWEEP, states=[ledger.run(SWEEP, 1).state])] == [{}]


def test_logged_metrics_stay_in_the_journal(path: Path) -> None:
    with Ledger.open(path) as ledger:
        kinds = {event.fact.kind for event in ledger.events(SWEEP)}
        assert "metrics-summarised" in kinds
        assert "metrics-logged" not in kinds
        assert ledger.check(deep=True) == []


@pytest.mark.parametrize("seed", range(8))
def test_order_partition_and_repetition_make_no_difference(path: Path, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    pieces = [piece for whole in sources() for piece in cut(whole, [draw.randrange(12) for _ in range(3)])]
    pieces += draw.sample(pieces, 3)
    draw.shuffle(pieces)
    with Ledger.open(tmp_path / "other.db", write=True, create=True) as other, Ledger.open(path) as ledger:
        for piece in pieces:
            other.ingest(SWEEP, [piece], plan_of)
        assert tables(other) == tables(ledger)
        assert other.check(deep=True) == []
        other.rebuild()
        assert tables(other) == tables(ledger)


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE attempts SET restored_step = 10 WHERE restart = 1",
        "UPDATE attempts SET checkpoint = 'c/0/31.r0' WHERE restart = 0",
        "UPDATE runs SET metrics = NULL WHERE run = 0",
        "UPDATE submissions SET keeper = NULL",
    ],
)
def test_edited_checkpoints_and_metrics_are_found(path: Path, edit: str) -> None:
    with Ledger.open(path) as ledger:
        before = tables(ledger)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(edit)
    with Ledger.open(path, write=True) as ledger:
        for deep in (False, True):
            assert {finding.kind for finding in ledger.check(deep=deep)} == {FindingKind.PROJECTION}
        ledger.rebuild()
        assert tables(ledger) == before


def test_journal_of_many_logged_steps_is_passed_over_once(tmp_path: Path) -> None:
    layout = SweepLayout(tmp_path / "sweep")
    take(layout)
    with JournalWriter.resume(layout.control, nothing_to_confirm) as control:
        for fact in (created(directory=str(layout.directory)), write_plan(layout, 1), *submitted(0, "0")):
            control.append(fact)
    journal = layout.journal(AttemptId(run=0, submission=0, restart=0))
    with JournalWriter.create(journal) as writer:
        for fact in [*attempt()[:4], *(logged(step) for step in range(200)), summary(199, 0.5)]:
            writer.append(fact)
    with Ledger.open(tmp_path / "l.db", write=True, create=True) as ledger:
        ledger.ingest(SWEEP, read_sweep(layout, sweep=SWEEP, offsets=ledger.offsets(SWEEP)), manifests_in(layout))
        assert ledger.offset(SWEEP, "0.s0.r0") == journal.stat().st_size
        assert len(ledger.events(SWEEP, 0)) == 6
        with JournalWriter.resume(journal, nothing_to_confirm) as writer:
            assert writer.seq == 205
            writer.append(logged(200))
        news = list(read_sweep(layout, sweep=SWEEP, offsets=ledger.offsets(SWEEP)))
        assert [segment.events for segment in news] == [(), ()]
        assert ledger.ingest(SWEEP, news, manifests_in(layout)).events == 0
        assert ledger.offset(SWEEP, "0.s0.r0") == journal.stat().st_size
        assert ledger.check(deep=True) == []


def test_altered_line_of_logged_metrics_ends_what_is_read(tmp_path: Path) -> None:
    journal = tmp_path / "0.s0.r0.jsonl"
    with JournalWriter.create(journal) as writer:
        for fact in (attempt()[0], logged(1), logged(2), summary(2, 0.5)):
            writer.append(fact)
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    journal.write_bytes(whole.replace(b'"loss":1.0', b'"loss":9.0'))
    read = read_segment(journal, sweep=SWEEP, source="0.s0.r0", offset=0, archived_only=True)
    assert [event.fact.kind for event in read.events] == ["attempt-claimed"]
    assert read.end == len(lines[0]) + len(lines[1])


def test_fold_reads_one_checkpoint_and_one_summary_of_many(tmp_path: Path) -> None:
    many = [fact for step in range(1, 400) for fact in (saved(step), summary(step, 1 / step))]
    with Ledger.open(tmp_path / "l.db", write=True, create=True) as ledger:
        told = segment("0.s0.r0", [*attempt()[:4], *many])
        ledger.ingest(SWEEP, [segment("control", [created(), launch(1)]), told], plan_of)
        assert ledger.attempts(SWEEP, 0)[0].checkpoint_step == 399
        assert ledger.run(SWEEP, 0).metrics["loss"]["last"] == [399, 1 / 399]
    with closing(sqlite3.connect(tmp_path / "l.db")) as connection:
        last = connection.execute(QUERIES["last_words_of_runs"], ("[0]", 1)).fetchall()
        assert sorted(row[5] for row in last) == ["checkpoint-saved", "metrics-summarised"]
        for query, values in (
            ("events_of_runs", ("[0]", 1, 1 << 62, '["checkpoint-saved"]')),
            ("runs_with_events", (1, -1, 9)),
            ("last_words_of_runs", ("[0]", 1)),
        ):
            plan = connection.execute(f"EXPLAIN QUERY PLAN {QUERIES[query]}", values).fetchall()
            assert any("events_of_run" in row[3] or "events_told_often" in row[3] for row in plan), query
            assert not any(row[3].startswith(("SCAN e", "SCAN l")) for row in plan), query
        assert (
            connection.execute(QUERIES["events_of_runs"], ("[0]", 1, 1 << 62, '["checkpoint-saved"]')).fetchall()
            == []
        )
