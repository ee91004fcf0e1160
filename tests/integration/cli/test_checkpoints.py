"""Checkpoints and metrics as ``hpcorch show``, ``status`` and ``query`` tell of them."""

from __future__ import annotations

import json

import pytest

from hpcorch.journal.files import nothing_to_confirm
from hpcorch.journal.lines import JournalWriter
from hpcorch.model import events as ev
from tests.support.sweeps import AttemptOnDisk, SweepOnDisk, make_sweep


@pytest.fixture(autouse=True)
def wide(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def tell(attempt: AttemptOnDisk, *facts: ev.Fact) -> None:
    with JournalWriter.resume(attempt.journal, nothing_to_confirm) as journal:
        for fact in facts:
            journal.append(fact)


def saved(step: int, restart: int = 0) -> ev.CheckpointSaved:
    return ev.CheckpointSaved(step=step, file=f"c/{step}.r{restart}", size=9, digest="sha256:0", seconds=0.1)


def summary(step: int, loss: float) -> ev.MetricsSummarised:
    return ev.MetricsSummarised(
        metrics={
            "loss": {"last": [step, loss], "min": [4, 0.125], "max": [1, 2.5]},
            "ratio": {"last": [step, "nan"]},
        }
    )


@pytest.fixture
def sweep(tmp_path) -> SweepOnDisk:
    """Run 0 was preempted after two checkpoints, of which the later one is broken, and is running again."""
    made = make_sweep(tmp_path, backend="slurm")
    made.submit([0, 1], job_id="4711", backend="slurm")
    tell(made.start(0), saved(10), saved(20), summary(20, 0.75))
    made.record(
        ev.JobObserved(submission=0, run=0, restart=0, state="PREEMPTED", witness="sacct"),
        ev.KeeperSubmitted(submission=0, job_id="4712"),
    )
    tell(
        made.start(0, restart=1),
        ev.CheckpointRejected(file="c/20.r0", reason="its digest is another"),
        ev.CheckpointRestored(step=10, file="c/10.r0", digest="sha256:0", attempt="0.s0.r0", generators=["random"]),
        saved(30, 1),
        ev.CheckpointFailed(step=40, reason="no space left on device"),
        summary(44, 0.5),
        ev.MetricsLogged(entries=[[45, {"loss": 0.5}]]),
    )
    made.ingest()
    return made


def test_show_says_of_each_attempt_which_checkpoint_it_started_from(hpcorch, sweep):
    shown = hpcorch("show", "last/0").out
    first, second = shown.split("attempt s0.r0")[1].split("attempt s0.r1")
    assert "nothing: it started from the beginning" in first
    assert "step 20, c/20.r0" in first
    assert "step 10, saved by s0.r0" in second
    assert "step 30, c/30.r1" in second


def test_show_tells_of_metrics_and_of_checkpoints_that_failed_or_are_broken(hpcorch, sweep):
    shown = hpcorch("show", "last/0").out
    for text in ("0.5 at step 44", "0.125 at step 4", "2.5 at step 1", "nan at step 44"):
        assert text in shown
    assert "3 saved, 2 of them kept" in shown
    assert "c/20.r0 broken, says s0.r1: its digest is another" in shown
    assert "step 40 failed, says s0.r1: no space left on device" in shown


def test_show_of_a_run_without_checkpoints_and_metrics_does_not_speak_of_them(hpcorch, sweep):
    sweep.start(1).end(0.5)
    shown = hpcorch("show", "last/1").out
    assert "checkpoint" not in shown
    assert "restored" not in shown
    assert "metric" not in shown


def test_show_of_a_run_whose_saves_all_fail_stays_short(hpcorch, sweep):
    failed = [ev.CheckpointFailed(step=step, reason="no space left on device") for step in range(50)]
    tell(sweep.start(1), *failed)
    shown = hpcorch("show", "last/1").out
    assert "0 saved, 0 of them kept" in shown
    assert "40 more that failed or are broken" in shown
    assert shown.count("no space left") == 10


def test_json_has_checkpoints_and_metrics(hpcorch, sweep):
    run = json.loads(hpcorch("show", "last/0", "--json").out)
    assert run["metrics"]["loss"] == {
        "last": 0.5,
        "last_step": 44,
        "min": 0.125,
        "min_step": 4,
        "max": 2.5,
        "max_step": 1,
    }
    assert (run["metrics"]["ratio"]["last"], run["metrics"]["ratio"]["min"]) == ("nan", None)
    assert [(one["attempt"], one["step"], one["state"]) for one in run["checkpoints"]] == [
        ("s0.r0", 10, "kept"),
        ("s0.r0", 20, "broken"),
        ("s0.r1", 30, "kept"),
    ]
    assert [(one["problem"], one["subject"]) for one in run["checkpoint_troubles"]] == [
        ("broken", "c/20.r0"),
        ("failed", "step 40"),
    ]
    first, second = json.loads(hpcorch("status", "--json").out)["runs"][0]["attempts"]
    assert (first["restored_from"], first["checkpoint_step"]) == (None, 20)
    assert (second["restored_from"], second["restored_step"], second["checkpoint_step"]) == ("s0.r0", 10, 30)
    assert second["checkpoint"] == "c/30.r1"
    assert json.loads(hpcorch("show", "--json").out)["submissions"][0]["keeper"] == "4712"


def test_status_shows_how_far_a_run_has_come(hpcorch, sweep):
    sweep.start(1)
    lines = hpcorch("status").out.splitlines()
    assert [line.endswith("step 44") for line in lines[-2:]] == [True, False]
    statuses = json.loads(hpcorch("status", "--json").out)["runs"]
    assert [run["step"] for run in statuses] == [44, None]


def test_step_goes_back_to_that_of_the_checkpoint_that_was_restored(hpcorch, sweep):
    started = sweep.start(0, restart=2)
    restored = ev.CheckpointRestored(step=30, file="c/30.r1", digest="sha256:0", attempt="0.s0.r1", generators=[])
    tell(started, restored, summary(30, 0.5))
    assert json.loads(hpcorch("status", "last/0", "--json").out)["runs"][0]["step"] == 30


def test_result_is_shown_once_there_is_one(hpcorch, sweep):
    started = sweep.start(0, restart=2)
    started.end(0.25)
    assert "step 44" not in hpcorch("status").out


def test_query_answers_about_checkpoints_and_metrics(hpcorch, sweep):
    ran = hpcorch("query", "--json", "SELECT run, last FROM v_metrics WHERE name = 'loss' AND last < 0.6")
    assert json.loads(ran.out) == [{"run": 0, "last": 0.5}]
    ran = hpcorch(
        "query",
        "--json",
        "SELECT a.restart, c.file FROM v_attempts a JOIN v_checkpoints c ON c.sweep = a.sweep AND c.run = a.run"
        " AND c.step = a.restored_step",
    )
    assert json.loads(ran.out) == [{"restart": 1, "file": "c/10.r0"}]


def test_ledger_made_anew_from_the_journals_alone_shows_the_same(hpcorch, sweep):
    def shown() -> list[str]:
        return [
            hpcorch("query", f"SELECT * FROM {view}").out for view in ("v_attempts", "v_checkpoints", "v_metrics")
        ]

    before = shown()
    sweep.ledger_path.unlink()
    sweep.ingest()
    assert shown() == before


def test_new_log_entries_alone_move_the_place_where_reading_goes_on(hpcorch, sweep):
    journal = sweep.layout.journals / "0.s0.r1.jsonl"
    with JournalWriter.resume(journal, nothing_to_confirm) as writer:
        writer.append(ev.MetricsLogged(entries=[[46, {"loss": 0.5}]]))
    hpcorch("ls")
    ran = hpcorch("query", "--json", "SELECT offset FROM sources WHERE name = '0.s0.r1'")
    assert json.loads(ran.out) == [{"offset": journal.stat().st_size}]
