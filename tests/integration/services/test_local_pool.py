"""The local pool, with a program that stands in for the task: every way to die is an end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from hpcorch.errors import UnavailableError
from hpcorch.journal.files import nothing_to_confirm
from hpcorch.journal.lines import JournalWriter
from hpcorch.ledger.store import Ledger
from hpcorch.model.entities import Run
from hpcorch.model.events import AttemptCalled, ControlRequested
from hpcorch.model.ids import AttemptId
from hpcorch.services.local.pool import Interrupted, LocalPool
from hpcorch.services.local.processes import orphaned, pool_id
from hpcorch.services.local.request import LocalRequest, TaskTerms
from hpcorch.services.local.starting import Starter
from hpcorch.services.local.task import LocalTask
from tests.support import processes
from tests.support.sweeps import SweepOnDisk, make_sweep
from tests.support.waiting import wait_until


@pytest.fixture
def sweep(tmp_path: Path) -> SweepOnDisk:
    made = make_sweep(tmp_path / "project", [["x=1"], ["x=2"]])
    made.ingest()
    return made


def execute(sweep: SweepOnDisk, deed: str, tick: Callable[[], None] = lambda: None) -> list[Run]:
    """Run both runs of a sweep with a shell script for Python; the runs as they ended."""
    python = sweep.project / "python"
    python.write_text(f"#!/bin/bash\n{deed}\n")
    python.chmod(0o755)
    request = LocalRequest(sweep=sweep.id, launch=0, runs=[0, 1], slots=2, python=str(python), environ=os.environ)
    LocalPool.submit(sweep.journal, request).run(tick)
    return runs_of(sweep)


def runs_of(sweep: SweepOnDisk) -> list[Run]:
    sweep.ingest()
    with Ledger.open(sweep.ledger_path) as ledger:
        return ledger.runs(sweep.id)


@pytest.mark.parametrize(
    ("deed", "state", "reason"),
    [
        ("exit 0", "LOST", "it ended with exit code 0 and recorded no end (see its log)"),
        ("exit 3", "FAILED", "the process ended with exit code 3"),
        ("kill -KILL $$", "FAILED", "the process was killed by SIGKILL"),
        ("kill -40 $$", "FAILED", "the process was killed by signal 40"),
    ],
)
def test_a_task_that_ends_without_a_word_is_over(sweep, deed, state, reason):
    assert {(run.state.value, run.reason) for run in execute(sweep, deed)} == {(state, reason)}


def execute_on_devices(sweep: SweepOnDisk, deed: str, own: TaskTerms) -> list[str]:
    """Run 0 on one of three devices, and run 1 on terms of its own; their states."""
    python = sweep.project / "python"
    python.write_text(f"#!/bin/bash\n{deed}\n")
    python.chmod(0o755)
    request = LocalRequest(
        sweep=sweep.id, launch=0, runs=[0, 1], slots=2, cpus=2, gpus=["a", "b", "c"], python=str(python),
        environ=os.environ, terms=TaskTerms(gpus=1), own={1: own},
    )  # fmt: skip
    LocalPool.submit(sweep.journal, request).run(lambda: None)
    return [run.state.value for run in runs_of(sweep)]


def test_a_run_has_its_own_devices(sweep):
    assert execute_on_devices(sweep, 'echo "$CUDA_VISIBLE_DEVICES"', TaskTerms(gpus=2)) == ["LOST", "LOST"]
    assert [sweep.layout.log(0, index).read_text() for index in (0, 1)] == ["a\n", "b,c\n"]


def test_a_run_has_its_own_time_limit(sweep):
    stay = 'while [ "$CUDA_VISIBLE_DEVICES" = b ]; do sleep 0.05; done'
    assert execute_on_devices(sweep, stay, TaskTerms(gpus=1, timeout_s=0.2)) == ["LOST", "TIMEOUT"]


@pytest.mark.parametrize(
    ("deed", "states"),
    [
        ("exit 3", ["FAILED", "FAILED"]),
        ("exec sleep 100", ["TIMEOUT", "TIMEOUT"]),
        ("sleep 100 & case $* in *--serve*) exit 0;; esac; exit 3", ["FAILED", "FAILED"]),
    ],
)
def test_a_program_that_never_gets_to_its_call_costs_no_more_than_each_run_by_itself(sweep, deed, states, caplog):
    python = sweep.project / "python"
    python.write_text(f"#!/bin/bash\n{deed}\n")
    python.chmod(0o755)
    request = LocalRequest(
        sweep=sweep.id, launch=0, runs=[0, 1], slots=2, python=str(python), environ=os.environ, forks=True,
        terms=TaskTerms(timeout_s=0.5),
    )  # fmt: skip
    LocalPool.submit(sweep.journal, request).run(lambda: None)
    assert [run.state.value for run in runs_of(sweep)] == states
    assert "Runs are not forked from the program, but started one by one" in caplog.text
    assert not any(processes.is_alive(child.pid) for child in psutil.Process().children(recursive=True))


def test_what_a_task_leaves_running_ends_with_it(sweep):
    execute(sweep, f"sleep 100 & echo $! >> {sweep.project}/left; exit 1")
    left = [int(pid) for pid in (sweep.project / "left").read_text().split()]
    assert len(left) == 2
    wait_until(lambda: not any(map(processes.is_alive, left)))


def test_a_ledger_that_others_hold_does_not_stop_the_tasks(sweep):
    def tick() -> None:
        raise UnavailableError("another process holds the ledger")

    assert len(execute(sweep, "sleep 0.2; exit 3", tick)) == 2


def test_a_pool_is_alive_whatever_happens_to_the_clock_and_gone_once_it_is_a_zombie(sweep):
    name, start = pool_id(os.getpid()).rsplit(":", 1)
    sweep.submit([0, 1], job_id=f"{name}:{int(start) - 2}")
    assert concluded(sweep) == []
    child = processes.start(["sleep", "100"])
    sweep.submit([0, 1], job_id=pool_id(child.pid), number=1)
    assert concluded(sweep) == []
    child.kill()
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert concluded(sweep) == ["CANCELLED", "CANCELLED"]
    child.wait()
    assert concluded(sweep) == ["CANCELLED", "CANCELLED"]


def concluded(sweep: SweepOnDisk) -> list[str]:
    submissions = sweep.journal.history().submissions.values()
    return [fact.state for fact in orphaned(submissions, runs_of(sweep))]


def test_a_task_that_is_cancelled_while_the_pool_starts_it_does_not_go_on(sweep, monkeypatch):
    start = Starter.start
    asked = ControlRequested(submission=0, action="cancel", runs="0-1", user="alice", uid=1, host="login1")

    def starting(*arguments: Any, **options: Any) -> LocalTask:
        sweep.record(asked)
        return start(*arguments, **options)

    monkeypatch.setattr(Starter, "start", starting)
    assert {run.state.value for run in execute(sweep, "sleep 100")} == {"CANCELLED"}


def test_sigterm_to_the_launcher_ends_tasks_that_do_not_heed_it(sweep, tune):
    tune(LOCAL_GRACE_S=0.2)
    began: list[float] = []

    def tick() -> None:
        if not began:
            began.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        execute(sweep, "trap '' TERM; sleep 100", tick)
    assert {run.state.value for run in runs_of(sweep)} == {"CANCELLED"}


@pytest.mark.parametrize(("asked", "over"), [(True, 2), (True, 1), (False, 2)])
def test_a_signal_ends_only_processes_if_all_runs_are_over_and_somebody_asked_to_cancel_them(sweep, asked, over):
    def tick() -> None:
        if sweep.layout.journal(AttemptId(run=0, submission=0, restart=0)).exists():
            return
        for run in range(over):
            sweep.start(run).end(5)
        if asked:
            values = {"submission": 0, "user": "alice", "uid": 1, "host": "login1"}
            sweep.record(ControlRequested(action="cancel", runs="0-1", **values))
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted) as stop:
        execute(sweep, "sleep 100", tick)
    assert stop.value.only_processes is (asked and over == 2)
    assert [run.state.value for run in runs_of(sweep)] == ["COMPLETED", "COMPLETED" if over == 2 else "CANCELLED"]


def test_a_process_that_stays_after_its_end_is_told_of_and_one_that_leaves_within_its_work_has_completed(
    sweep, tune, caplog
):
    tune(JOB_STAYS_S=0.0)
    over = sweep.project / "over"

    def tick() -> None:
        if not sweep.layout.journal(AttemptId(run=0, submission=0, restart=0)).exists():
            sweep.start(0).end(5)
            with JournalWriter.resume(sweep.start(1).journal, nothing_to_confirm) as journal:
                journal.append(AttemptCalled())
        first, second = runs_of(sweep)
        if first.lingers and not over.exists():
            assert (first.state.value, second.state.value) == ("COMPLETED", "RUNNING")
            assert "its process still runs" in (first.reason or "")
            over.touch()

    first, second = execute(sweep, f"while [ ! -e {over} ]; do sleep 0.05; done", tick)
    assert (first.state.value, first.result, first.lingers) == ("COMPLETED", 5, False)
    assert (second.state.value, second.result) == ("COMPLETED", None)
    assert "os._exit" in (second.reason or "")
    assert caplog.messages == [
        f"Run {sweep.id}/0 is over, and its process still runs: `hpcorch cancel {sweep.id}/0` ends it"
    ]
