"""Packed arrays: few tasks execute many runs, each of which is a run like any other."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from hpcorch.model.ids import AttemptId
from hpcorch.runtime.context.startup_signals import release_signals
from hpcorch.services.packing.task import main
from tests.support.apps import App
from tests.support.command_line import CommandLine
from tests.support.waiting import wait_until

pytestmark = pytest.mark.programs

PACKED = "hydra.launcher.runs_per_task=4"


def launch(app: App, *arguments: str) -> None:
    done = app.launch(*arguments, PACKED)
    assert done.returncode == 0, done.stderr


def elements(app: App) -> Counter[str | None]:
    return Counter(attempt.job_id for attempt in app.attempts())


@pytest.mark.parametrize("isolation", ["fork", "process"])
def test_a_few_tasks_execute_all_runs_and_each_is_a_run_like_any_other(on_slurm, isolation):
    launch(on_slurm, "x=range(8)", "hydra.launcher.seed=7", f"hydra.launcher.isolation={isolation}")
    packed = [(run.state.value, run.result, run.seed, run.config_digest) for run in on_slurm.runs()]
    assert [result for _, result, _, _ in packed] == list(range(8))
    assert set(elements(on_slurm)) <= {"1_0", "1_1"}
    assert sorted(path.name for path in on_slurm.layout().journals.iterdir()) == [
        f"{AttemptId(run=run, submission=0, restart=0)}.jsonl" for run in range(8)
    ]
    done = on_slurm.launch("x=range(8)", "hydra.launcher.seed=7")
    assert done.returncode == 0, done.stderr
    assert [(run.state.value, run.result, run.seed, run.config_digest) for run in on_slurm.runs()] == packed


def test_each_run_has_its_part_of_the_tasks_log(on_slurm, hpcorch: CommandLine):
    done = on_slurm.launch("x=range(8)", "fail=5", PACKED)
    assert done.returncode != 0
    assert hpcorch("logs", "last/5").out.count("about to fail") == 1
    assert "about to fail" not in hpcorch("logs", "last/1,4,6").out
    assert len({attempt.log for attempt in on_slurm.attempts()}) <= 2


def test_a_run_that_fails_or_dies_is_one_failure_and_its_task_goes_on(on_slurm):
    done = on_slurm.launch("x=range(8)", "fail=1", "die=2", "leave=3", PACKED)
    assert done.returncode != 0
    found = {run.run: (run.state.value, run.exit_code, run.reason) for run in on_slurm.runs()}
    assert {run for run, (state, _, _) in found.items() if state == "FAILED"} == {1, 2, 3}
    assert "SIGKILL" in (found[2][2] or "")
    assert found[3][1] == 7


def test_several_runs_of_a_task_run_side_by_side(on_slurm):
    on_slurm.start("x=range(4)", "wait_for=go", PACKED, "hydra.launcher.parallel_per_task=4")
    wait_until(lambda: len(list(on_slurm.folder.glob("started-*"))) == 4)
    (on_slurm.folder / "go").touch()
    wait_until(lambda: on_slurm.ledger.exists() and on_slurm.states() == ["COMPLETED"] * 4)
    assert elements(on_slurm) == {"1_0": 4}
    assert len({attempt.log for attempt in on_slurm.attempts()}) == 4


def test_runs_in_flight_go_on_when_their_task_is_started_again(on_slurm):
    on_slurm.start("x=range(4)", "wait_for=go", PACKED)
    wait_until((on_slurm.folder / "started-0").exists)
    subprocess.run(["scontrol", "requeue", "1_0"], check=True)
    (on_slurm.folder / "go").touch()
    wait_until(lambda: on_slurm.states() == ["COMPLETED"] * 4)
    assert [(one.run, one.restart, one.job_restart, one.state.value) for one in on_slurm.attempts()] == [
        (0, 0, 0, "REQUEUED"),
        (0, 1, 1, "COMPLETED"),
        *((run, 0, 1, "COMPLETED") for run in (1, 2, 3)),
    ]


def test_a_single_run_is_cancelled_and_the_others_are_not(on_slurm, hpcorch: CommandLine):
    on_slurm.start("x=range(4)", "wait_for=go", PACKED)
    wait_until((on_slurm.folder / "started-0").exists)
    assert hpcorch("cancel", "last/0,2", "--yes").code == 0
    wait_until((on_slurm.folder / "started-1").exists)
    (on_slurm.folder / "go").touch()
    wait_until(lambda: on_slurm.states() == ["CANCELLED", "COMPLETED", "CANCELLED", "COMPLETED"])
    assert not (on_slurm.folder / "started-2").exists()


def test_a_program_that_cannot_be_forked_is_started_for_each_run_and_that_is_said_once(on_slurm):
    text = (on_slurm.folder / "app.py").read_text()
    thread = "import threading, time\nthreading.Thread(target=time.sleep, args=(2,), daemon=True).start()\n"
    (on_slurm.folder / "app.py").write_text(thread + text)
    launch(on_slurm, "x=range(3)")
    assert on_slurm.states() == ["COMPLETED"] * 3
    (log,) = {attempt.log for attempt in on_slurm.attempts()}
    assert Path(log or "").read_text().count("not forked from the program") == 1


def test_the_entry_of_a_packed_task_is_not_for_hands(tmp_path, capsys):
    words = [str(tmp_path), "--launch", "0", "--submission", "0", "--runs", "0-3", "--tasks", "1"]
    try:
        assert main(words) == 2
    finally:
        release_signals()
    assert "not by hand" in capsys.readouterr().err
