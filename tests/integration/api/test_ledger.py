"""``hpcorch.Ledger``: the same answers as the command line, from notebooks that stay open for hours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

import hpcorch
from hpcorch import api
from hpcorch.errors import NotFoundError, RecordError, UnavailableError, UsageError
from hpcorch.journal.files import nothing_to_confirm
from hpcorch.journal.lines import JournalWriter
from hpcorch.ledger import Ledger as OpenLedger
from hpcorch.model import events as ev
from tests.support.command_line import CommandLine
from tests.support.events import plan_of, segment, small_sweep
from tests.support.sweeps import SWEEP, SweepOnDisk, finished_sweep, make_sweep

OTHER = "20260102-090000-wxyz"


@pytest.fixture
def sweep(tmp_path) -> SweepOnDisk:
    return finished_sweep(tmp_path)


@pytest.fixture
def other(sweep) -> SweepOnDisk:
    """A later sweep over another key, whose results are mappings; its last run goes on."""
    made = make_sweep(sweep.project, [["depth=2"], ["depth=10"]], sweep=OTHER, name="deep")
    made.submit([0, 1])
    made.start(0).end({"accuracy": 0.8, "loss": 0.3})
    made.start(1)
    made.ingest()
    return made


@pytest.fixture
def command_line(capsys) -> CommandLine:
    return CommandLine(capsys)


# What it answers ----------------------------------------------------------------------------------------------


def test_sweeps_are_told_latest_first(other):
    latest, before = hpcorch.Ledger().sweeps()
    assert (latest.sweep, latest.name, latest.state, latest.runs) == (OTHER, "deep", "RUNNING", 2)
    assert (before.sweep, before.state, before.counts) == (SWEEP, "FAILED", {"COMPLETED": 1, "FAILED": 1})
    assert before.directory == other.project / "sweeps" / SWEEP
    assert before.created_at.tzinfo is timezone.utc
    assert before.looked_at is None or before.looked_at >= before.created_at


def test_sweeps_are_found_by_state_name_and_time(other):
    ledger = hpcorch.Ledger()
    assert [found.sweep for found in ledger.sweeps(state="R")] == [OTHER]
    assert [found.sweep for found in ledger.sweeps(state=["FAILED", "TIMEOUT"])] == [SWEEP]
    assert [found.sweep for found in ledger.sweeps(name="DEEP")] == [OTHER]
    assert len(ledger.sweeps(since="1h")) == 2
    assert ledger.sweeps(since=datetime(2099, 1, 1, tzinfo=timezone.utc)) == []
    assert ledger.sweep().sweep == OTHER
    assert ledger.sweep(SWEEP[:12]).sweep == SWEEP


def test_runs_are_selected_as_on_the_command_line(other):
    ledger = hpcorch.Ledger()
    assert [run.id for run in ledger.runs()] == [f"{OTHER}/0", f"{OTHER}/1"]
    assert [run.id for run in ledger.runs(SWEEP, "last/1")] == [f"{SWEEP}/0", f"{SWEEP}/1", f"{OTHER}/1"]
    assert [run.id for run in ledger.runs(SWEEP, state="F,TO")] == [f"{SWEEP}/1"]
    assert [run.id for run in ledger.runs(SWEEP, where="lr<0.15")] == [f"{SWEEP}/0"]
    assert [run.id for run in ledger.runs(SWEEP, where=["lr<0.3", "state=FAILED"])] == [f"{SWEEP}/1"]
    assert [run.id for run in ledger.runs("last", "last/0")] == [f"{OTHER}/0", f"{OTHER}/1"]


def test_a_record_selects_what_it_tells_of(other):
    ledger = hpcorch.Ledger()
    later, earlier = ledger.sweeps()
    first, second = ledger.runs(earlier)
    assert ledger.sweep(earlier) == ledger.sweep(second) == earlier
    assert ledger.runs(second, later) == [second, *ledger.runs(OTHER)]
    assert ledger.run(first) == first
    assert ledger.config(first) == ledger.config(f"{SWEEP}/0")
    assert [one.run for one in ledger.attempts(second)] == [1]


def test_a_run_says_what_became_of_it(sweep):
    ledger = hpcorch.Ledger()
    failed = ledger.run("last/1")
    assert (failed.state, str(failed.state), failed.state.is_final) == ("FAILED", "FAILED", True)
    assert failed.error == "ValueError: no good"
    assert failed.log is not None
    assert "no good" in failed.log.read_text()
    assert failed.duration_s is not None
    assert failed.started_at is not None
    assert failed.started_at.tzinfo is timezone.utc
    assert ledger.run("last/0").result == 0.5
    assert ledger.config("last/0")["lr"] == 0.1


def test_attempts_and_events_are_those_of_what_is_selected(other):
    ledger = hpcorch.Ledger()
    assert [(one.run, one.state) for one in ledger.attempts(SWEEP)] == [(0, "COMPLETED"), (1, "FAILED")]
    assert [one.run for one in ledger.attempts(f"{SWEEP}/1", "last/0")] == [1, 0]
    ends = ledger.events(SWEEP, kinds=["attempt-ended"])
    assert [(one.run, one.source, one.body["outcome"]) for one in ends] == [
        (0, "0.s0.r0", "completed"),
        (1, "1.s0.r0", "failed"),
    ]
    assert {one.run for one in ledger.events("last/1")} == {1}
    assert {one.run for one in ledger.events()} == {None, 0, 1}


def test_metrics_and_checkpoints_are_typed(tmp_path):
    path = tmp_path / "ledger.db"
    metrics = {"loss": {"last": [9, "nan"], "min": [8, 0.1], "max": [0, 3.0]}}
    with OpenLedger.open(path, write=True, create=True) as writer:
        small_sweep(writer)
        saved = ev.CheckpointSaved(step=9, file="checkpoints/0/a", size=10, digest="sha256:0", seconds=0.5)
        append(writer, "0.s0.r0", ev.MetricsSummarised(metrics=metrics), saved)
    ledger = hpcorch.Ledger(path)
    loss = ledger.run("last/0").metrics["loss"]
    assert (str(loss.last), loss.last_step, loss.min, loss.max_step) == ("nan", 9, 0.1, 0)
    (checkpoint,) = ledger.checkpoints("last/0")
    assert (checkpoint.submission, checkpoint.restart, checkpoint.step, checkpoint.state) == (0, 0, 9, "kept")


def append(writer: OpenLedger, source: str, *facts: ev.Fact) -> None:
    first = len([one for one in writer.events(SWEEP) if one.source == source])
    writer.ingest(SWEEP, [segment(source, facts, first=first)], plan_of)


def test_a_table_compares_sweeps(other):
    ledger = hpcorch.Ledger()
    table = ledger.table(SWEEP, OTHER, config="lr")
    assert table["sweep"] == [SWEEP, SWEEP, OTHER, OTHER]
    assert table["name"] == ["train", "train", "deep", "deep"]
    assert table["depth"] == [None, None, 2, 10]
    assert table["result"] == [0.5, None, None, None]
    assert table["result.accuracy"] == [None, None, 0.8, None]
    assert table["state"] == ["COMPLETED", "FAILED", "COMPLETED", "RUNNING"]
    assert {len(column) for column in table.values()} == {4}
    with pytest.raises(UsageError, match="no configuration of these runs has a value under 'typo'"):
        ledger.table(config=["typo"])


def test_a_table_without_runs_has_no_rows(sweep):
    table = hpcorch.Ledger().table(state="LOST")
    assert table["run"] == []


def test_sql_is_answered_column_by_column(sweep):
    found = hpcorch.Ledger().query("SELECT run, result, state FROM v_runs ORDER BY run")
    assert found == {"run": [0, 1], "result": [0.5, None], "state": ["COMPLETED", "FAILED"]}


QUESTIONS: list[Callable[[Any], dict[str, list[Any]]]] = [
    lambda ledger: ledger.table(SWEEP, OTHER),
    lambda ledger: ledger.table(state="LOST"),
    lambda ledger: ledger.query("SELECT * FROM v_attempts"),
    lambda ledger: ledger.query("SELECT * FROM v_params"),
]


@pytest.mark.parametrize("ask", QUESTIONS)
def test_pandas_takes_tables_as_they_are(other, ask):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = ask(hpcorch.Ledger())
    frame = pandas.DataFrame(table)
    assert frame.shape == (len(next(iter(table.values()))), len(table))


@pytest.mark.parametrize("ask", QUESTIONS)
def test_polars_takes_tables_as_they_are(other, ask):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    table = ask(hpcorch.Ledger())
    assert polars.DataFrame(table).shape == (len(next(iter(table.values()))), len(table))


@pytest.mark.parametrize("ask", QUESTIONS)
def test_arrow_takes_tables_as_they_are(other, ask):
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table = ask(hpcorch.Ledger())
    assert arrow.table(table).shape == (len(next(iter(table.values()))), len(table))


def test_times_of_a_table_are_times_of_pandas(sweep):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(hpcorch.Ledger().table())
    assert str(frame["started_at"].dt.tz) == "UTC"


# What cannot be answered --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("nope", ["status", "nope"]),
        ("last/99", ["status", "last/99"]),
        ("a/b/c", ["status", "a/b/c"]),
        ("last/5-3", ["status", "last/5-3"]),
    ],
)
def test_errors_are_the_command_lines_sentences(sweep, command_line, selector, words):
    with pytest.raises(UsageError) as raised:
        hpcorch.Ledger().runs(selector)
    assert str(raised.value) in command_line(*words).err


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda ledger: ledger.runs(state="GONE"), "'GONE' is not a state"),
        (lambda ledger: ledger.runs(where="lr"), "'lr' is not a condition"),
        (lambda ledger: ledger.sweeps(since="yesterday"), "'yesterday' is not a time"),
        (lambda ledger: ledger.run("last"), "'last' selects 2 runs"),
        (lambda ledger: ledger.query("DELETE FROM runs"), "only read"),
        (lambda ledger: hpcorch.Ledger(ledger.path.parent), "is a folder: name the ledger's file"),
    ],
)
def test_what_cannot_be_understood_is_said(sweep, ask, said):
    with pytest.raises(hpcorch.errors.UsageError, match=said):
        ask(hpcorch.Ledger())


def test_a_missing_ledger_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match=r"hpcorch\.Ledger\(path\)"):
        hpcorch.Ledger()
    with pytest.raises(NotFoundError, match="there is no ledger at"):
        hpcorch.Ledger(tmp_path / "ledger.db")
    (tmp_path / "notes.txt").write_text("not a database, and long enough to be none")
    with pytest.raises(RecordError, match="not a ledger"):
        hpcorch.Ledger(tmp_path / "notes.txt")


def test_the_ledger_is_found_as_the_command_line_finds_it(sweep, tmp_path, monkeypatch):
    (tmp_path / "deep" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "below")
    ledger = hpcorch.Ledger()
    assert ledger.path == sweep.ledger_path
    monkeypatch.chdir("/")
    assert ledger.sweep().sweep == SWEEP
    monkeypatch.setenv("HPCORCH_LEDGER", str(sweep.ledger_path))
    assert hpcorch.Ledger().path == sweep.ledger_path


# Refreshing ---------------------------------------------------------------------------------------------------


def test_news_is_seen_after_refresh(other):
    ledger = hpcorch.Ledger()
    end(other.layout.journals / "1.s0.r0.jsonl", {"accuracy": 0.9})
    assert ledger.run("last/1").state == "RUNNING"
    assert ledger.refresh() == []
    assert ledger.run("last/1").state == "COMPLETED"
    assert ledger.sweep().looked_at is not None


def end(journal: Path, result: Any) -> None:
    with JournalWriter.resume(journal, nothing_to_confirm) as writer:
        writer.append(ev.AttemptEnded(outcome="completed", exit_code=0, result=result))


def test_refresh_says_if_slurm_does_not_answer(sweep, monkeypatch):
    waiting = make_sweep(sweep.project, sweep=OTHER, backend="slurm")
    waiting.submit([0, 1], job_id="4711", backend="slurm")
    waiting.ingest()
    monkeypatch.setenv("PATH", "/nowhere")
    ledger = hpcorch.Ledger()
    with pytest.raises(UnavailableError, match=f"sweep {OTHER} is shown as last recorded in the ledger"):
        ledger.refresh("last")
    with pytest.raises(UnavailableError):
        ledger.refresh()


def test_refresh_of_all_sweeps_names_those_that_cannot_be_looked_at(other):
    theirs = make_sweep(other.project, sweep="20260103-090000-bbbb", backend="slurm", user="somebody-else")
    theirs.submit([0, 1], job_id="4711", backend="slurm")
    theirs.ingest()
    (notice,) = hpcorch.Ledger().refresh()
    assert "only somebody-else, who submitted it, can ask Slurm" in notice


# The package --------------------------------------------------------------------------------------------------


def test_importing_the_package_loads_nothing_but_itself():
    program = "import sys, hpcorch; print(sorted(name for name in sys.modules if name.startswith('hpcorch')))"
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "['hpcorch']"


def test_the_ledger_is_asked_without_hydra_and_other_heavy_packages(sweep):
    heavy = ("hydra", "omegaconf", "sqlite_utils", "numpy", "pandas", "yaml", "rich", "submitit")
    program = f"import sys, hpcorch; hpcorch.Ledger().table(); print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there():
    assert set(hpcorch.__all__) <= set(dir(hpcorch))
    for name in hpcorch.__all__:
        assert getattr(hpcorch, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        hpcorch.nonsense  # noqa: B018


# Fields of records are other columns than those of the views in these cases alone.
OTHERWISE = {
    "v_sweeps": ({"completed", "failed", "running", "waiting"}, api.SweepRecord),
    "v_runs": ({"name"}, api.RunRecord),
    "v_attempts": (set(), api.AttemptRecord),
    "v_checkpoints": (set(), api.CheckpointRecord),
    "v_events": ({"seq", "hash"}, api.EventRecord),
}


@pytest.mark.parametrize("view", OTHERWISE)
def test_records_have_the_columns_of_the_views(sweep, view):
    left_out, record = OTHERWISE[view]
    columns = set(hpcorch.Ledger().query(f"SELECT * FROM {view}"))
    assert columns - {field.name for field in fields(record)} == left_out
