"""``hpcorch wait`` and ``watch``: until the selected runs are over, from another process than the launcher."""

from __future__ import annotations

import io
import json
import shutil

import pytest
from rich.console import Console

from hpcorch.cli.commands import watch
from hpcorch.ledger import Ledger
from hpcorch.services.reports.status import report_status
from hpcorch.services.selection.selectors import Selector
from tests.support.lost_ledgers import LOSSES
from tests.support.sweeps import GONE, SWEEP, finished_sweep, make_sweep


def test_wait_ends_with_the_runs_and_exits_0_if_all_completed(hpcorch, sweep, meanwhile):
    tasks = [sweep.start(0), sweep.start(1)]
    meanwhile(lambda: tasks[0].end(0.5), lambda: tasks[1].end(0.6))
    ran = hpcorch("wait", "last", "--timeout", "120")
    assert ran.code == 0
    assert ran.out == f"sweep {SWEEP}  train  COMPLETED  2 COMPLETED\n"


def test_wait_for_some_runs_does_not_wait_for_the_others(hpcorch, sweep):
    sweep.start(0).end(0.5)
    assert hpcorch("wait", "last/0", "--timeout", "120").code == 0
    assert hpcorch("wait", "last", "--timeout", "0.1").code == 3


def test_wait_exits_1_and_names_what_did_not_complete(hpcorch, tmp_path):
    finished_sweep(tmp_path)
    ran = hpcorch("wait")
    assert ran.code == 1
    assert "ValueError: no good" in ran.out
    assert json.loads(hpcorch("wait", "--json").out)["counts"] == {"COMPLETED": 1, "FAILED": 1}


def test_wait_concludes_that_the_pool_is_gone(hpcorch, tmp_path):
    sweep = make_sweep(tmp_path)
    sweep.submit([0, 1], job_id=GONE)
    sweep.start(0).end(0.5)
    sweep.ingest()
    ran = hpcorch("wait", "--timeout", "120")
    assert ran.code == 1
    assert "CANCELLED" in ran.out


def test_wait_gives_up_on_what_cannot_be_followed(hpcorch, sweep):
    late = hpcorch("wait", "--timeout", "0.1")
    assert late.code == 3
    assert "timed out; these runs are not over: 2 SUBMITTED" in late.err
    shutil.rmtree(sweep.layout.directory)
    gone = hpcorch("wait")
    assert gone.code == 3
    assert "cannot be followed" in gone.err


def test_what_is_over_needs_no_sweep_directory_to_be_waited_for(hpcorch, tmp_path):
    shutil.rmtree(finished_sweep(tmp_path).layout.directory)
    ran = hpcorch("wait")
    assert ran.code == 1
    assert "is gone: its record is missing" in ran.err


@pytest.mark.parametrize("command", ["wait", "watch"])
def test_who_follows_a_launch_that_was_stopped_is_told_what_to_do_as_by_status(hpcorch, tmp_path, tune, command):
    tune(LAUNCH_SUBMITS_S=0)
    make_sweep(tmp_path).ingest()
    told = hpcorch("status").err
    assert "its launch was stopped" in told
    assert hpcorch(command).err.endswith(told)


def test_a_launch_that_was_refused_is_not_waited_for(hpcorch, tmp_path):
    from hpcorch.model import events as ev

    sweep = make_sweep(tmp_path, backend="slurm")
    intended = ev.SubmissionIntended(
        submission=0, launch=0, runs="0-1", token="0" * 32, backend="slurm", host="login1", script=""
    )
    sweep.record(intended, ev.SubmissionRejected(submission=0, reason="no such partition"))
    sweep.ingest()
    ran = hpcorch("wait", "--timeout", "120")
    assert ran.code == 1
    assert "no such partition" in ran.out


def test_only_those_of_a_state_are_waited_for_whatever_states_they_get_into(hpcorch, sweep, meanwhile):
    task = sweep.start(0)
    sweep.ingest()
    meanwhile(lambda: task.end(0.5))
    assert hpcorch("wait", "-s", "R", "--timeout", "120").code == 0
    assert hpcorch("wait", "-s", "R").code == 2


def test_watch_prints_a_line_for_each_change_off_a_terminal(hpcorch, sweep, meanwhile):
    tasks = [sweep.start(0)]
    meanwhile(
        lambda: tasks[0].end(0.5),
        lambda: tasks.append(sweep.start(1)),
        lambda: tasks[1].end(error="ValueError: no"),
    )
    ran = hpcorch("watch")
    assert ran.code == 1
    changes = [line.split()[1:] for line in ran.out.splitlines()]
    assert changes[:2] == [["0", "RUNNING", "lr=0.1"], ["1", "SUBMITTED", "lr=0.2"]]
    assert ["0", "COMPLETED", "lr=0.1", "0.5"] in changes
    assert changes[-1] == ["1", "FAILED", "lr=0.2", "ValueError:", "no"]


def test_watch_json_prints_an_object_for_each_change(hpcorch, tmp_path):
    finished_sweep(tmp_path)
    ran = hpcorch("watch", "--json")
    assert [json.loads(line)["state"] for line in ran.out.splitlines()] == ["COMPLETED", "FAILED"]


def test_a_small_terminal_shows_what_is_alive_or_went_wrong_first(tmp_path):
    sweep = make_sweep(tmp_path, [[f"x={x}"] for x in range(20)])
    sweep.submit(range(20))
    for run in range(10):
        sweep.start(run).end(0.5)
    sweep.start(12)
    sweep.start(17).end(error="ValueError: no good")
    sweep.ingest()
    with Ledger.open(sweep.ledger_path) as ledger:
        status = report_status(ledger, Selector())
    console = Console(file=io.StringIO(), width=100, height=8)
    console.print(watch._picture(status, height=8))
    shown = console.file.getvalue()
    assert "1 RUNNING, 10 COMPLETED, 1 FAILED" in shown
    assert "no good" in shown
    assert "… and 17 more" in shown
    assert len(shown.splitlines()) <= 8


@pytest.mark.parametrize("way", ["deleted with its folder", "text"])
@pytest.mark.parametrize("command", [("wait", "--timeout", "120"), ("watch",), ("logs", "--follow")])
def test_they_end_with_the_runs_whatever_becomes_of_the_ledger(hpcorch, sweep, meanwhile, command, way):
    tasks = [sweep.start(0), sweep.start(1)]
    meanwhile(lambda: tasks[0].end(0.5), lambda: LOSSES[way](sweep.ledger_path), lambda: tasks[1].end(0.6))
    ran = hpcorch(*command)
    assert ran.code == 0, ran.err
    assert str(sweep.ledger_path) in ran.err
