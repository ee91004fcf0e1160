"""Arrays whose tasks take runs one by one: what commands tell of them, and do with them."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from hpcorch.users import own_name
from tests.support.apps import App
from tests.support.command_line import CommandLine
from tests.support.waiting import wait_until

pytestmark = pytest.mark.programs

# The run of 1 fails until somebody repairs the world, that of 3 goes on until it may end.
FRAIL = """
import pathlib, time
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    pathlib.Path(f"started-{cfg.x}").touch()
    if cfg.x == 1 and not pathlib.Path("repaired").exists():
        raise ValueError(f"no good: {cfg.x}")
    while cfg.x == 3 and not pathlib.Path("go").exists():
        time.sleep(0.05)
    return cfg.x

main()
"""
BY_ME = f"cancelled by {own_name()} with hpcorch cancel"


@pytest.fixture
def one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """One task runs, the others of its array wait."""
    monkeypatch.setenv("FAKE_SLURM_CPUS", "1")


def packed(app: App, *arguments: str, runs_per_task: int = 2) -> None:
    """A sweep whose jobs go on without their launcher."""
    words = (
        "hydra.launcher.detach=true",
        "hydra.launcher.keeper=false",
        f"hydra.launcher.runs_per_task={runs_per_task}",
    )
    done = app.launch(*arguments, *words)
    assert done.returncode == 0, done.stderr


def started(app: App, *values: int) -> bool:
    return all((app.folder / f"started-{x}").exists() for x in values)


def runs(hpcorch: CommandLine) -> list[dict[str, Any]]:
    return json.loads(hpcorch("status", "--json").out)["runs"]


# cancel, hold, release ------------------------------------------------------------------------------------------


def test_single_runs_are_cancelled_by_the_task_that_has_them_or_comes_to_them(hpcorch, on_slurm, one_cpu, requests):
    packed(on_slurm, "x=1,2,3,4", "wait_for=go")
    wait_until(lambda: started(on_slurm, 1))
    dry = json.loads(hpcorch("cancel", "last/0,2", "--dry-run", "--json").out)
    assert (dry["runs"], dry["elements"]) == ([0, 2], [])
    ran = hpcorch("cancel", "last/0,2", "-y")
    assert ran.code == 0, ran.err
    assert ran.out.endswith("(tasks of 1)\n")
    wait_until(lambda: started(on_slurm, 2))  # the task goes on with its next run
    (on_slurm.folder / "go").touch()
    assert hpcorch("wait", "--timeout", "200").code == 1
    found = runs(hpcorch)
    assert [run["state"] for run in found] == ["CANCELLED", "COMPLETED", "CANCELLED", "COMPLETED"]
    assert [found[0]["reason"], found[2]["reason"]] == [BY_ME, BY_ME]
    assert not started(on_slurm, 3)
    assert requests == []
    assert hpcorch("audit", "last").code == 0


def test_a_whole_packed_array_is_cancelled_by_one_request(hpcorch, on_slurm, one_cpu, requests):
    packed(on_slurm, "x=1,2,3,4", "wait_for=go")
    wait_until(lambda: started(on_slurm, 1))
    ran = hpcorch("cancel", "last", "-y")
    assert ran.out.endswith("(1)\n")
    assert requests == [("cancel", ["1"])]
    assert hpcorch("wait", "--timeout", "200").code == 1
    assert [(run["state"], run["reason"]) for run in runs(hpcorch)] == [("CANCELLED", BY_ME)] * 4


def test_after_a_checkpoint_only_the_waiting_tasks_are_cancelled_by_slurm(hpcorch, on_slurm, one_cpu, requests):
    packed(on_slurm, "x=1,2,3,4", "wait_for=go")
    wait_until(lambda: started(on_slurm, 1))
    ran = hpcorch("cancel", "last", "--checkpoint", "-y")
    assert "run 0 after a checkpoint" in ran.out
    assert requests == [("cancel", ["1_1"])]
    assert hpcorch("wait", "--timeout", "200").code == 1
    found = runs(hpcorch)
    assert [run["reason"] for run in found] == [f"{BY_ME} --checkpoint", BY_ME, BY_ME, BY_ME]
    assert [attempt["signal"] for run in found for attempt in run["attempts"]] == ["SIGUSR2"]


def test_what_waits_in_a_packed_array_is_held_as_a_whole(hpcorch, on_slurm, one_cpu, requests):
    packed(on_slurm, "x=1,2,3,4", "wait_for=go")
    wait_until(lambda: started(on_slurm, 1))
    for verb in ("hold", "release"):
        single = hpcorch(verb, "last/2-3")
        assert single.code == 2
        assert (
            f"wait for any of the 2 tasks of the packed array 1, and Slurm cannot {verb} single ones" in single.err
        )
    held = hpcorch("hold", "last")
    assert held.code == 0, held.err
    assert "tasks of 1 that run already go on to take runs" in held.err
    assert "of 2, 1 is running, and 1 waits: it was held by its owner" in hpcorch("why", "last/3").out
    (on_slurm.folder / "go").touch()
    assert hpcorch("wait", "--timeout", "200").code == 0  # the task that ran has taken them all
    assert hpcorch("release", "last").code == 0
    assert requests == [("hold", ["1"])]


# What is told ---------------------------------------------------------------------------------------------------


def test_an_element_selects_the_runs_that_it_has_taken(hpcorch, on_slurm, one_cpu):
    packed(on_slurm, "x=1,2,3,4", "wait_for=go")
    wait_until(lambda: started(on_slurm, 1))
    none = hpcorch("status", "job=1_1")
    assert (none.code, "the task 1_1 of sweep" in none.err, "has not taken a run" in none.err) == (2, True, True)
    assert "has no element 2" in hpcorch("status", "job=1_2").err
    (on_slurm.folder / "go").touch()
    assert hpcorch("wait", "--timeout", "200").code == 0
    found = json.loads(hpcorch("status", "job=1_0", "--json").out)["runs"]
    assert [run["index"] for run in found] == [0, 1, 2, 3]
    assert {run["job_id"] for run in found} == {"1_0"}
    assert len(json.loads(hpcorch("status", "job=1", "--json").out)["runs"]) == 4


def test_why_a_run_waits_that_no_task_has_taken(hpcorch, on_slurm, one_cpu):
    packed(on_slurm, "x=1,2,3,4", "wait_for=go")
    wait_until(lambda: started(on_slurm, 1))
    told = hpcorch("why", "last/3")
    assert (
        "it waits for one of the tasks of array 1 to come to it: of 2, 1 is running, and 1 waits: jobs" in told.out
    )
    assert "it is running on f1" in hpcorch("why", "last/0").out
    (on_slurm.folder / "go").touch()
    assert hpcorch("wait", "--timeout", "200").code == 0


def test_why_a_run_waits_while_no_task_runs(hpcorch, on_slurm, one_cpu):
    packed(on_slurm, "x=1,2", "+hydra.launcher.additional_parameters.begin=now+600")
    told = json.loads(hpcorch("why", "last/1", "--json").out)
    assert told["meaning"] == (
        "it waits for one of the tasks of array 1 to come to it: of 1, none is running: jobs with a higher priority"
        " are ahead of it"
    )
    assert told["reason"] == "Priority"
    assert hpcorch("cancel", "-y").code == 0


def test_a_run_shows_the_element_that_had_it_and_its_own_part_of_the_log(hpcorch, on_slurm):
    packed(on_slurm, "x=1,2,3", "fail=2", runs_per_task=3)
    assert hpcorch("wait", "--timeout", "200").code == 1
    shown = json.loads(hpcorch("show", "last/1", "--json").out)
    assert (shown["job_id"], shown["attempts"][0]["job_id"]) == ("1_0", "1_0")
    logs = hpcorch("logs", "last/1").out
    assert logs.startswith("about to fail\n")
    assert "ValueError: no good: 2" in logs
    assert "about to fail" not in hpcorch("logs", "last/0").out + hpcorch("logs", "last/2").out
    followed = hpcorch("logs", "job=1_0", "-f").out
    assert [f"==> run {index}, attempt s0.r0 <==" in followed for index in range(3)] == [False, True, False]
    assert hpcorch("audit", "last").code == 0


def test_what_a_requeued_task_goes_on_with_is_as_recorded(hpcorch, on_slurm, one_cpu):
    packed(on_slurm, "x=1,2,3", "wait_for=go", runs_per_task=3)
    wait_until(lambda: started(on_slurm, 1))
    subprocess.run(["scontrol", "requeue", "1_0"], check=True)
    (on_slurm.folder / "go").touch()
    assert hpcorch("wait", "--timeout", "200").code == 0
    shown = json.loads(hpcorch("show", "last/0", "--json").out)
    assert [attempt["attempt"] for attempt in shown["attempts"]] == ["s0.r0", "s0.r1"]
    assert [attempt["job_id"] for attempt in shown["attempts"]] == ["1_0", "1_0"]
    found = json.loads(hpcorch("status", "job=1_0", "--json").out)["runs"]
    assert [len(run["attempts"]) for run in found] == [2, 1, 1]
    assert hpcorch("audit", "last").code == 0
    assert hpcorch("ledger", "check").code == 0


# retry, rerun, reproduce ----------------------------------------------------------------------------------------


def test_a_retry_does_not_wait_for_the_task_that_goes_on_with_other_runs(hpcorch, on_slurm, one_cpu, requests):
    (on_slurm.folder / "app.py").write_text(FRAIL)
    packed(on_slurm, "+x=1,2,3", runs_per_task=3)
    wait_until(lambda: started(on_slurm, 3) and runs(hpcorch)[0]["state"] == "FAILED")
    (on_slurm.folder / "repaired").touch()
    done = json.loads(hpcorch("retry", "last/0", "--json").out)
    assert done["submitted"] == [{"launch": 0, "runs": [0], "job_id": "2"}]
    assert hpcorch("wait", "last/0", "--timeout", "200").code == 0
    assert runs(hpcorch)[2]["state"] == "RUNNING"
    assert [verb for verb, _ in requests if verb in ("cancel", "signal")] == []
    (on_slurm.folder / "go").touch()
    assert hpcorch("wait", "--timeout", "200").code == 0
    assert [run["job_id"] for run in runs(hpcorch)] == ["2_0", "1_0", "1_0"]
    assert hpcorch("retry", "--set", "nodes=2").code == 0  # nothing is to be run again


def test_a_retry_keeps_to_what_packed_tasks_can_be(hpcorch, on_slurm):
    packed(on_slurm, "x=1,2", "fail=2")
    assert hpcorch("wait", "--timeout", "200").code == 1
    refused = hpcorch("retry", "--set", "nodes=2")
    assert refused.code == 2
    assert "leave out nodes, tasks_per_node and srun_args, or runs_per_task" in refused.err


def test_a_retry_gives_each_run_a_task_of_its_own_if_somebody_wants_that(hpcorch, on_slurm):
    packed(on_slurm, "x=1,2,3", "fail=2")
    assert hpcorch("wait", "--timeout", "200").code == 1
    done = json.loads(hpcorch("retry", "--set", "runs_per_task=1", "--json").out)
    assert [array["runs"] for array in done["submitted"]] == [[1]]
    assert "hpcorch.runtime" in on_slurm.script(1).read_text()


def test_runs_of_a_packed_array_are_rerun_and_reproduced(hpcorch, on_slurm):
    packed(on_slurm, "x=1,2,3", runs_per_task=3)
    assert hpcorch("wait", "--timeout", "200").code == 0
    first = json.loads(hpcorch("status", "--json").out)["sweep"]
    again = hpcorch("rerun", first)
    assert again.code == 0, again.err
    assert hpcorch("wait", "--timeout", "200").code == 0
    assert {run["job_id"] for run in runs(hpcorch)} == {"2_0"}
    repeated = hpcorch("reproduce", f"{first}/1", "again")
    assert repeated.code == 0, repeated.err
    assert [(run["state"], run["job_id"]) for run in runs(hpcorch)] == [("COMPLETED", "3_0")]
