"""``hpcorch ls``, ``status`` and ``show`` on ledgers and sweep directories as they are found in practice."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hpcorch.model import events as ev
from hpcorch.services.tending import refresh
from tests.support.paths import FAKE_SLURM
from tests.support.sweeps import GONE, SWEEP, finished_sweep, make_sweep

OTHER = "20260102-090000-wxyz"


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """A pretended Slurm on PATH, and nothing else of that kind."""
    state = tmp_path / "slurm"
    monkeypatch.setenv("PATH", f"{FAKE_SLURM}:{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE_SLURM_DIR", str(state))
    return state


# ls ---------------------------------------------------------------------------------------------------------------


def test_ls_has_the_latest_sweep_first(hpcorch, tmp_path):
    finished_sweep(tmp_path)
    finished_sweep(tmp_path, sweep=OTHER, name="eval", tags=["paper"])
    ran = hpcorch("ls")
    assert ran.code == 0
    head, first, second = ran.out.splitlines()
    assert head.split() == ["SWEEP", "NAME", "STATE", "RUNS", "COUNTS", "CREATED", "AS", "OF", "TAGS"]
    assert first.startswith(f"{OTHER}  eval   FAILED  2     1 COMPLETED, 1 FAILED")
    assert first.endswith("paper")
    assert second.startswith(SWEEP)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["--name", "EV"], [OTHER]),
        (["--tag", "paper"], [OTHER]),
        (["--tag", "paper", "--tag", "draft"], []),
        (["-s", "F"], [OTHER, SWEEP]),
        (["--state", "CD,R"], []),
        (["--since", "1h"], [OTHER, SWEEP]),
        (["--since", "2999-01-01"], []),
        (["--limit", "1"], [OTHER]),
        (["--limit", "0"], [OTHER, SWEEP]),
    ],
)
def test_ls_filters(hpcorch, tmp_path, filters, found):
    finished_sweep(tmp_path)
    finished_sweep(tmp_path, sweep=OTHER, name="eval", tags=["paper"])
    assert hpcorch("ls", "-q", *filters).out.split() == found
    assert [row["sweep"] for row in json.loads(hpcorch("ls", "--json", *filters).out)] == found


def test_ls_says_that_there_are_more_and_when_there_are_none(hpcorch, tmp_path):
    finished_sweep(tmp_path)
    finished_sweep(tmp_path, sweep=OTHER)
    assert "--limit 0 lists all" in hpcorch("ls", "-n", "1").err
    nothing = hpcorch("ls", "--name", "nothing")
    assert (nothing.code, nothing.out) == (0, "")
    assert "no sweep matches" in nothing.err


def test_ls_takes_over_news_before_it_filters(hpcorch, tmp_path):
    sweep = make_sweep(tmp_path)
    sweep.submit([0, 1])
    sweep.ingest()
    assert hpcorch("ls", "-q", "-s", "SU").out.split() == [SWEEP]
    for run in (0, 1):
        sweep.start(run).end(0.5)
    assert hpcorch("ls", "-q", "-s", "SU").out == ""
    assert hpcorch("ls", "-q", "-s", "CD").out.split() == [SWEEP]


def test_ls_lists_the_others_when_one_sweep_directory_is_gone(hpcorch, tmp_path):
    for sweep in (make_sweep(tmp_path), make_sweep(tmp_path, sweep=OTHER)):
        sweep.submit([0, 1])
        sweep.ingest()
    shutil.rmtree(tmp_path / "sweeps" / OTHER)
    ran = hpcorch("ls")
    assert ran.code == 0
    assert len(ran.out.splitlines()) == 3
    assert "2 SUBMITTED (directory gone)" in ran.out
    assert "directories of sweeps are gone" in ran.err


# status -----------------------------------------------------------------------------------------------------------


def test_status_shows_the_last_sweep_run_by_run_and_exits_1_if_one_failed(hpcorch, tmp_path):
    finished_sweep(tmp_path)
    ran = hpcorch("status")
    assert ran.code == 1
    lines = ran.out.splitlines()
    assert lines[0] == f"sweep {SWEEP}  train  FAILED  1 COMPLETED, 1 FAILED"
    assert lines[2] == f"in {tmp_path / 'sweeps' / SWEEP}"
    assert lines[-2].split()[:4] == ["0", "COMPLETED", "lr=0.1", "n1"]
    assert lines[-2].endswith("0.5")
    assert lines[-1].endswith("ValueError: no good")
    assert "epochs=3" not in ran.out  # all runs have it


def test_status_exits_0_if_the_selected_runs_are_fine(hpcorch, tmp_path):
    finished_sweep(tmp_path)
    assert hpcorch("status", "last/0").code == 0
    assert hpcorch("status", "last", "-s", "CD").code == 0
    assert hpcorch("status", "last/0-1", "-s", "F").code == 1


def test_a_table_that_is_cut_shows_all_that_the_sweep_varies(hpcorch, tmp_path):
    sweep = make_sweep(tmp_path, overrides=[[f"lr={lr}", f"i={i}", "same=1"] for lr in (1, 2) for i in range(3)])
    sweep.submit(list(range(6)))
    sweep.ingest()
    for words in (["--limit", "2"], ["last/0-1"]):
        rows = [line for line in hpcorch("status", *words).out.splitlines() if "lr=1 i=" in line]
        assert len(rows) == 2
        assert not any("same" in row for row in rows)


def test_status_of_many_runs_shows_some_and_says_so(hpcorch, tmp_path):
    sweep = make_sweep(tmp_path, overrides=[[f"x={index}"] for index in range(150)])
    sweep.submit(range(150))
    for run in (3, 149):
        sweep.start(run).end(error="ValueError: no good")
    sweep.ingest()

    def shown(*words: str) -> list[int]:
        lines = hpcorch("status", *words).out.splitlines()
        return [int(line.split()[0]) for line in lines if line[:1].isdigit()]

    assert shown() == [*range(99), 149]
    assert shown("-n", "3") == [0, 3, 149]
    assert shown("last/0-9", "-n", "2") == [0, 3]
    assert shown("--limit", "0") == list(range(150))
    ran = hpcorch("status", "-s", "SUBMITTED")
    assert "48 more runs are selected" in ran.err
    assert ran.code == 0
    ran = hpcorch("status", "last/0-9", "-n", "0", "-q")
    assert (ran.code, ran.out.split()) == (1, [f"{SWEEP}/{run}" for run in range(10)])
    assert (
        len(hpcorch("status", "-q").out.split()) == len(json.loads(hpcorch("status", "--json").out)["runs"]) == 150
    )
    assert hpcorch("status", "-q", "-n", "1").out == f"{SWEEP}/3\n"
    assert hpcorch("status", "-q", "-s", "F").out == f"{SWEEP}/3\n{SWEEP}/149\n"
    assert json.loads(hpcorch("status", "--json", "-n", "5").out)["left_out"] == 145


def test_status_json_has_what_scripts_rely_on(hpcorch, tmp_path):
    sweep = finished_sweep(tmp_path, tags=["paper"])
    ran = hpcorch("status", SWEEP, "--json")
    assert ran.code == 1
    status = json.loads(ran.out)
    assert status["sweep"] == SWEEP
    assert status["state"] == "FAILED"
    assert status["counts"] == {"COMPLETED": 1, "FAILED": 1}
    assert {"name", "directory", "created_at", "age_s", "looked_at", "backend", "user", "tags"} <= status.keys()
    good, bad = status["runs"]
    assert good["index"] == 0
    assert good["overrides"] == ["lr=0.1", "epochs=3"]
    assert good["params"] == {"lr": 0.1, "epochs": 3}
    assert (good["state"], good["seed"], good["seed_source"], good["result"]) == ("COMPLETED", 100, "derived", 0.5)
    assert (bad["state"], bad["exit_code"], bad["error"]) == ("FAILED", 1, "ValueError: no good")
    assert bad["config_digest"] == "sha256:1"
    assert {"job_id", "node", "started_at", "ended_at", "elapsed_s", "reason", "log", "directory"} <= bad.keys()
    (attempt,) = bad["attempts"]
    assert (attempt["attempt"], attempt["state"], attempt["log_start"], attempt["log_end"]) == (
        "s0.r0",
        "FAILED",
        0,
        16,
    )
    assert attempt["log"] == str(sweep.layout.log(0, 1))


def test_status_shows_every_attempt_of_a_requeued_run(hpcorch, tmp_path):
    sweep = make_sweep(tmp_path, backend="slurm")
    sweep.submit([0, 1], job_id="4711", backend="slurm")
    sweep.start(0)
    sweep.record(ev.JobObserved(submission=0, run=0, restart=0, state="PREEMPTED", witness="sacct"))
    sweep.start(0, restart=1).end(0.5)
    sweep.ingest()
    run = json.loads(hpcorch("status", "last/0", "--json").out)["runs"][0]
    assert run["state"] == "COMPLETED"
    assert [(a["attempt"], a["state"]) for a in run["attempts"]] == [("s0.r0", "PREEMPTED"), ("s0.r1", "COMPLETED")]


def test_status_quiet_prints_selectors_that_other_commands_take(hpcorch, tmp_path):
    finished_sweep(tmp_path)
    ran = hpcorch("status", "-q", "-s", "F")
    assert ran.out == f"{SWEEP}/1\n"
    assert hpcorch("logs", ran.out.strip()).out == "epoch 1\nno good\n"


@pytest.mark.parametrize("selector", ["last/2", "last/0-999999999", "nosuch", "last/x"])
def test_what_does_not_exist_is_named_in_one_sentence(hpcorch, tmp_path, selector):
    finished_sweep(tmp_path)
    ran = hpcorch("status", selector)
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 1


def test_status_takes_over_news_from_the_journals(hpcorch, tmp_path):
    sweep = make_sweep(tmp_path)
    sweep.submit([0, 1])
    sweep.ingest()
    task = sweep.start(0)
    assert json.loads(hpcorch("status", "--json").out)["counts"] == {"SUBMITTED": 1, "RUNNING": 1}
    task.end({"accuracy": 0.9})
    status = json.loads(hpcorch("status", "--json").out)
    assert status["runs"][0]["result"] == {"accuracy": 0.9}
    assert status["age_s"] < 60


def test_status_sees_what_was_decided_about_a_sweep_that_was_over(hpcorch, tmp_path):
    sweep = finished_sweep(tmp_path)
    sweep.submit([1], number=1)
    assert json.loads(hpcorch("status", "--json").out)["counts"] == {"SUBMITTED": 1, "COMPLETED": 1}


def test_status_concludes_what_became_of_runs_whose_launcher_was_killed(hpcorch, tmp_path):
    sweep = make_sweep(tmp_path)
    sweep.submit([0, 1], job_id=GONE)
    sweep.start(0).end(0.5)
    sweep.ingest()
    ran = hpcorch("status", "--json")
    assert ran.code == 1
    assert json.loads(ran.out)["counts"] == {"COMPLETED": 1, "CANCELLED": 1}


def test_a_sweep_directory_that_is_gone_leaves_what_the_ledger_has(hpcorch, tmp_path):
    sweep = make_sweep(tmp_path)
    sweep.submit([0, 1])
    sweep.start(0).end(0.5)
    sweep.ingest()
    shutil.rmtree(sweep.layout.directory)
    ran = hpcorch("status", "--json")
    assert ran.code == 0
    status = json.loads(ran.out)
    assert status["counts"] == {"SUBMITTED": 1, "COMPLETED": 1}
    assert f"`hpcorch cancel {sweep.id}` ends runs that are not over" in status["gone"]
    assert len(ran.err.splitlines()) == 1


def test_a_ledger_that_may_only_be_read_is_shown_as_it_is(hpcorch, tmp_path, monkeypatch):
    sweep = make_sweep(tmp_path)
    sweep.submit([0, 1])
    sweep.ingest()
    sweep.start(0).end(0.5)

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    # The superuser may write everywhere, so the refusal is put where the kernel would give it to others.
    monkeypatch.setattr("hpcorch.ledger.schema.connection.os.open", refuse)
    ran = hpcorch("status", "--json")
    assert ran.code == 0
    status = json.loads(ran.out)
    assert status["counts"] == {"SUBMITTED": 2}
    assert "Permission denied" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_overrides_are_data_whatever_is_in_them(hpcorch, tmp_path):
    odd = ["x=[red]", "y='a b'", "z=$(rm -rf /)\x1b[2J\x00\n", "größe=層", "long=" + "a" * 5000]
    finished_sweep(tmp_path, overrides=[odd, ["x=1"]])
    ran = hpcorch("status")
    row = next(line for line in ran.out.splitlines() if line.startswith("0"))
    assert r"x=[red] y='a b' z=$(rm -rf /)\x1b[2J\x00\n größe=層 long=aaa" in row
    assert len(row) < 200
    assert "\x1b" not in ran.out
    assert json.loads(hpcorch("status", "--json").out)["runs"][0]["overrides"] == odd
    shown = hpcorch("show", "last/0").out
    assert "a" * 5000 in shown
    assert "\x1b" not in shown


# --refresh --------------------------------------------------------------------------------------------------------


def test_refresh_says_that_slurm_does_not_answer_and_shows_what_is_known(hpcorch, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    sweep = make_sweep(tmp_path, backend="slurm")
    sweep.submit([0, 1], job_id="4711", backend="slurm")
    sweep.ingest()
    assert hpcorch("status").code == 0
    ran = hpcorch("status", "--refresh", "--json")
    assert ran.code == 3
    assert json.loads(ran.out)["counts"] == {"SUBMITTED": 2}
    assert "Slurm's commands are not here" in ran.err
    assert hpcorch("ls", "--refresh").code == 3


def test_refresh_asks_slurm(hpcorch, tmp_path, slurm):
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\n#SBATCH --array=0-1\n#SBATCH -H\ntrue\n")
    done = subprocess.run(["sbatch", "--parsable", "-H", str(script)], capture_output=True, text=True, check=True)
    sweep = make_sweep(tmp_path, backend="slurm")
    sweep.submit([0, 1], job_id=done.stdout.strip().split(";")[0], backend="slurm")
    sweep.ingest()
    ran = hpcorch("status", "--refresh", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["counts"] == {"PENDING": 2}


def test_only_the_owner_asks_slurm(hpcorch, tmp_path, slurm):
    sweep = make_sweep(tmp_path, backend="slurm", user="alice")
    sweep.submit([0, 1], job_id="4711", backend="slurm")
    sweep.ingest()
    ran = hpcorch("status", "--refresh")
    assert ran.code == 3
    assert "only alice" in ran.err


def test_another_cluster_with_the_same_job_ids_concludes_nothing(hpcorch, tmp_path, slurm):
    sweep = make_sweep(tmp_path, backend="slurm", cluster="elsewhere")
    sweep.submit([0, 1], job_id="4711", backend="slurm")
    sweep.ingest()
    ran = hpcorch("status", "--refresh", "--json")
    assert ran.code == 3
    assert "is on the cluster elsewhere, and this machine belongs to fake" in ran.err
    assert json.loads(ran.out)["counts"] == {"SUBMITTED": 2}


def test_a_sweep_that_slurm_refused_is_not_fine(hpcorch, tmp_path):
    sweep = make_sweep(tmp_path, backend="slurm")
    sweep.submit([0, 1], backend="slurm")
    sweep.record(ev.SubmissionRejected(submission=0, reason="there is no such partition"))
    sweep.ingest()
    ran = hpcorch("status")
    assert ran.code == 1
    assert "there is no such partition" in ran.out
    assert "Slurm refused 2 of its runs, which stay PLANNED: correct what it names, and launch the sweep" in ran.err
    listed = hpcorch("ls", "--all")
    assert "2 PLANNED (2 refused by Slurm)" in listed.out
    assert "`hpcorch status SWEEP` says why, and what to do" in listed.err
    (told,) = json.loads(hpcorch("ls", "--all", "--json").out)
    assert told["refused"] == {"runs": 2, "reason": "there is no such partition"}


def test_why_says_what_slurm_refused_and_what_to_do(hpcorch, tmp_path, slurm):
    sweep = make_sweep(tmp_path, backend="slurm")
    sweep.submit([0, 1], backend="slurm")
    sweep.record(ev.SubmissionRejected(submission=0, reason="there is no such partition"))
    sweep.ingest()
    told = hpcorch("why", "last/1")
    assert "Slurm refused its submission [there is no such partition]" in told.out
    assert "launch the sweep again" in told.out


@pytest.mark.parametrize("question", ["why", "show"])
def test_where_one_run_is_to_be_named_the_example_exists(hpcorch, tmp_path, slurm, question):
    make_sweep(tmp_path, [[f"x={x}"] for x in range(4)], backend="slurm").ingest()
    several = hpcorch(question, "last/2-3")
    assert several.code == 2
    assert f"name one, such as {SWEEP}/2" in several.err


def test_what_waits_for_room_with_slurm_was_not_refused(hpcorch, tmp_path):
    sweep = make_sweep(tmp_path, backend="slurm")
    sweep.record(ev.FeedingPlanned(launch=0))
    sweep.submit([0, 1], backend="slurm")
    sweep.record(ev.SubmissionRejected(submission=0, reason="over the limit of jobs", limited=True))
    sweep.ingest()
    ran = hpcorch("status")
    assert (ran.code, ran.err) == (0, "")
    assert "refused" not in hpcorch("ls").out


def test_an_element_of_an_array_is_selected_by_its_job_id(hpcorch, tmp_path):
    sweep = make_sweep(tmp_path, [[f"x={x}"] for x in range(4)], backend="slurm")
    sweep.submit([1, 3], job_id="369", backend="slurm")
    sweep.ingest()
    assert hpcorch("status", "job=369_1", "-q").out == f"{SWEEP}/3\n"
    assert "run 3 of sweep" in hpcorch("show", "job=369_1").out
    missing = hpcorch("status", "job=369_2")
    assert missing.code == 2
    assert "has no element 2" in missing.err
    assert hpcorch("status", "job=369_[0-1]").code == 2


# show -------------------------------------------------------------------------------------------------------------


def test_show_of_a_sweep_says_where_it_came_from(hpcorch, tmp_path):
    finished_sweep(tmp_path)
    ran = hpcorch("show")
    assert ran.code == 0
    assert "train.py -m lr=0.1,0.2" in ran.out
    assert "launch of 2 runs from 0 on" in ran.out
    assert "submission 0" in ran.out
    detail = json.loads(hpcorch("show", "--json", "--events").out)
    assert detail["argv"] == ["train.py", "-m", "lr=0.1,0.2"]
    assert detail["launches"][0]["options"] == {"slots": 2}
    assert detail["submissions"][0]["runs"] == "0-1"
    assert len(detail["runs"]) == 2
    assert detail["events"][0]["kind"] == "sweep-created"
    assert "events" not in json.loads(hpcorch("show", "--json").out)


def test_show_of_a_run_has_its_configuration_and_attempts(hpcorch, tmp_path):
    finished_sweep(tmp_path, config={"model": {"name": "mlp", "hidden": [8, 8], "extra": {}, "flag": None}})
    ran = hpcorch("show", "last/1", "--events")
    assert ran.code == 0
    log = tmp_path / "sweeps" / SWEEP / ".hpcorch" / "logs" / "s0_1.log"
    for text in (
        "lr=0.2 epochs=3",
        "101 (derived)",
        "model.hidden",
        "[8, 8]",
        f"{log} (bytes 0-16)",
        "attempt-ended",
    ):
        assert text in ran.out
    detail = json.loads(hpcorch("show", "last/1", "--json").out)
    assert detail["sweep"] == SWEEP
    assert detail["index"] == 1
    assert detail["config"]["model"] == {"name": "mlp", "hidden": [8, 8], "extra": {}, "flag": None}


def test_show_of_several_runs_points_to_status(hpcorch, tmp_path):
    finished_sweep(tmp_path)
    ran = hpcorch("show", "last/0-1")
    assert ran.code == 2
    assert "hpcorch status" in ran.err


# Which ledger -----------------------------------------------------------------------------------------------------


def test_the_ledger_is_found_from_folders_below_or_named(hpcorch, tmp_path, monkeypatch):
    sweep = finished_sweep(tmp_path / "project")
    below = tmp_path / "project" / "a" / "b"
    below.mkdir(parents=True)
    nowhere = hpcorch("ls")
    assert nowhere.code == 2
    assert "run a sweep first" in nowhere.err
    assert hpcorch("--ledger", sweep.ledger_path, "ls", "-q").out.split() == [SWEEP]
    monkeypatch.chdir(below)
    assert hpcorch("ls", "-q").out.split() == [SWEEP]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPCORCH_LEDGER", str(sweep.ledger_path))
    assert hpcorch("ls", "-q").out.split() == [SWEEP]


def test_a_file_that_is_no_ledger_is_refused_in_a_sentence(hpcorch, tmp_path):
    (tmp_path / "text").write_text("hello " * 1000)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (x)")
    other.close()
    for name in ("text", "other.db", "missing", "."):
        ran = hpcorch("--ledger", tmp_path / name, "ls")
        assert ran.code in (1, 2, 3)
        assert ran.out == ""
        assert len(ran.err.splitlines()) == 1, ran.err


def test_asking_leaves_a_finished_ledger_as_it_was(hpcorch, tmp_path):
    sweep = finished_sweep(tmp_path)
    sweep.ledger_path.chmod(stat.S_IRUSR)
    before = sweep.ledger_path.read_bytes()
    for words in (["ls"], ["status"], ["show"], ["show", "last/0"], ["logs"], ["query", "SELECT 1"]):
        hpcorch(*words)
    assert sweep.ledger_path.read_bytes() == before


def test_ls_looks_at_a_bounded_number_of_sweeps(hpcorch, tmp_path, monkeypatch, tune):
    tune(REFRESHED_SWEEPS=1)
    looked: list[str] = []
    monkeypatch.setattr(refresh, "_look_at", lambda _, sweep, refresh: looked.append(sweep.id) or [])
    for sweep in (make_sweep(tmp_path), make_sweep(tmp_path, sweep=OTHER)):
        sweep.ingest()
    hpcorch("ls")
    assert looked == [OTHER]
