"""``hpcorch cancel``, ``hold``, ``release`` and ``retry``: on a pretended Slurm, and on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hpcorch as api
from hpcorch.model import events as ev
from hpcorch.users import own_name
from tests.support import processes
from tests.support.apps import App
from tests.support.command_line import CommandLine
from tests.support.sweeps import SWEEP, finished_sweep, make_sweep
from tests.support.waiting import wait_until

pytestmark = pytest.mark.programs

BY_ME = f"cancelled by {own_name()} with hpcorch cancel"
# Fails until somebody repairs the world; ``linger`` keeps the process alive after its end is on record.
FRAIL = """
import pathlib, threading, time
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    if cfg.x in (2, 3) and not pathlib.Path("repaired").exists():
        if cfg.get("linger"):
            threading.Thread(target=time.sleep, args=(600,)).start()
        raise ValueError(f"no good: {cfg.x}")
    return {"x": cfg.x, "seed": __import__("os").environ["HPCORCH_SEED"]}

main()
"""


@pytest.fixture(autouse=True)
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SLURM_CPUS", "2")


def leave(app: App, *arguments: str) -> None:
    done = app.launch(*arguments, "hydra.launcher.detach=true")
    assert done.returncode == 0, done.stderr


def started(app: App, *values: int) -> bool:
    return all((app.folder / f"started-{x}").exists() for x in values)


def runs(hpcorch: CommandLine) -> list[dict[str, Any]]:
    return json.loads(hpcorch("status", "--json").out)["runs"]


# cancel, hold, release ------------------------------------------------------------------------------------------


def test_cancel_of_a_selection_is_one_request_and_its_reason_says_who_asked(hpcorch, on_slurm, requests):
    leave(on_slurm, "x=1,2,3,4", "wait_for=go")
    wait_until(lambda: started(on_slurm, 1, 2))
    ran = hpcorch("cancel", "last/1,3", "-y")
    assert ran.code == 0, ran.err
    assert "asked to cancel runs 1,3" in ran.out
    assert requests == [("cancel", ["1_[1,3]"])]
    (on_slurm.folder / "go").touch()
    assert hpcorch("wait", "--timeout", "200").code == 1
    found = runs(hpcorch)
    assert [run["state"] for run in found] == ["COMPLETED", "CANCELLED", "COMPLETED", "CANCELLED"]
    assert [run["reason"] for run in found] == [None, BY_ME, None, BY_ME]


def test_cancel_of_a_whole_sweep_names_the_array_once_and_leaves_what_is_over_alone(hpcorch, on_slurm, requests):
    leave(on_slurm, "x=1,2,3", "wait_for=go")
    wait_until(lambda: started(on_slurm, 1, 2))
    dry = json.loads(hpcorch("cancel", "--dry-run", "--json").out)
    assert (dry["runs"], dry["elements"], dry["done"]) == ([0, 1, 2], ["1"], False)
    refused = hpcorch("cancel")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert requests == []
    assert hpcorch("cancel", "-y").code == 0
    assert requests == [("cancel", ["1"])]
    assert hpcorch("wait", "--timeout", "200").code == 1
    assert {run["reason"] for run in runs(hpcorch)} == {BY_ME}
    again = hpcorch("cancel", "-y")
    assert again.code == 0
    assert "nothing to cancel" in again.err
    assert "runs 0-2 left alone: already over (CANCELLED)" in again.err
    assert len(requests) == 1


def test_an_end_by_another_hand_is_not_put_down_to_hpcorch(hpcorch, on_slurm):
    leave(on_slurm, "x=1,2", "wait_for=go")
    wait_until(lambda: started(on_slurm, 1, 2))
    hpcorch("cancel", "last/0", "-y")
    subprocess.run(["scancel", "1_1"], check=True)
    wait_until(lambda: '"CANCELLED": 2' in hpcorch("status", "--refresh", "--json").out)
    by_hand = f"cancelled by {own_name()} (uid {os.getuid()})"
    assert [run["reason"] for run in runs(hpcorch)] == [BY_ME, by_hand]


def test_cancel_after_a_checkpoint_asks_what_runs_and_ends_what_waits(hpcorch, on_slurm, requests):
    leave(on_slurm, "x=1,2,3,4", "wait_for=go")
    wait_until(lambda: started(on_slurm, 1, 2))
    ran = hpcorch("cancel", "last", "--checkpoint", "-y")
    assert ran.code == 0, ran.err
    assert "asked to cancel runs 0-3 of sweep" in ran.out
    assert "runs 0-1 after a checkpoint" in ran.out
    assert requests == [("cancel", ["1_[2-3]"]), ("signal", ["1_[0-1]"])]
    assert sorted(path.name for path in on_slurm.folder.rglob(".hpcorch/asked/*")) == ["0.s0", "1.s0"]
    assert hpcorch("wait", "--timeout", "200").code == 1
    hpcorch("status", "--refresh")
    found = runs(hpcorch)
    assert {run["state"] for run in found} == {"CANCELLED"}
    assert [run["reason"] for run in found] == [f"{BY_ME} --checkpoint"] * 2 + [BY_ME] * 2
    assert [run["attempts"][0]["signal"] for run in found[:2]] == ["SIGUSR2"] * 2
    events = json.loads(hpcorch("show", "--events", "--json").out)["events"]
    asked = [event["body"] for event in events if event["kind"] == "control-requested"]
    assert [(one["runs"], one["checkpoint"]) for one in asked] == [("0-1", True), ("2-3", False)]
    assert hpcorch("ledger", "check").code == 0


def test_a_run_that_slurm_gave_up_after_a_preemption_can_be_cancelled(hpcorch, fake_slurm, tmp_path, monkeypatch):
    sweep = make_sweep(tmp_path, backend="slurm", cluster="fake")
    sweep.submit([0, 1], job_id="1", backend="slurm")
    words = {"submission": 0, "witness": "squeue"}
    sweep.record(
        ev.JobObserved(run=0, restart=0, state="PREEMPTED", node="n1", **words),
        ev.JobObserved(run=0, restart=1, state="NOT_REQUEUED", reason="Slurm does not requeue it", **words),
        ev.JobObserved(run=1, restart=0, state="COMPLETED", **words),
    )
    sweep.ingest()
    assert [run["state"] for run in runs(hpcorch)] == ["PLANNED", "LOST"]
    ran = hpcorch("cancel", "last/0", "-y")
    assert ran.code == 0, ran.err
    assert (runs(hpcorch)[0]["state"], runs(hpcorch)[0]["reason"]) == ("CANCELLED", BY_ME)


def test_a_run_that_a_packed_array_left_over_can_be_cancelled(hpcorch, fake_slurm, tmp_path):
    sweep = make_sweep(tmp_path, backend="slurm", cluster="fake")
    sweep.submit([0, 1], job_id="1", backend="slurm", tasks=1)
    words = {"submission": 0, "witness": "sacct", "restart": 0}
    sweep.record(*(ev.JobObserved(run=run, state="LEFT_OVER", reason="not its turn", **words) for run in (0, 1)))
    sweep.ingest()
    assert [run["state"] for run in runs(hpcorch)] == ["PLANNED", "PLANNED"]
    ran = hpcorch("cancel", "last/0", "-y")
    assert ran.code == 0, ran.err
    first, second = runs(hpcorch)
    assert (first["state"], first["reason"], second["state"]) == ("CANCELLED", BY_ME, "PLANNED")


def test_held_runs_wait_until_they_are_released(hpcorch, on_slurm, requests):
    leave(on_slurm, "x=1,2,3,4", "wait_for=go")
    wait_until(lambda: started(on_slurm, 1, 2))
    held = hpcorch("hold", "last")
    assert held.code == 0
    assert "asked to hold runs 2-3" in held.out
    assert "runs 0-1 left alone: not waiting (RUNNING)" in held.err
    (on_slurm.folder / "go").touch()
    assert hpcorch("wait", "last/0-1", "--timeout", "200").code == 0
    hpcorch("status", "--refresh")
    assert [(run["state"], run["reason"]) for run in runs(hpcorch)[2:]] == [("PENDING", "JobHeldUser")] * 2
    assert not started(on_slurm, 3)
    assert json.loads(hpcorch("release", "last/2-3", "--json").out)["runs"] == [2, 3]
    assert hpcorch("wait", "--timeout", "200").code == 0
    assert [verb for verb, _ in requests] == ["hold", "release"]


def test_who_asked_for_what_is_in_the_record(hpcorch, on_slurm):
    leave(on_slurm, "x=1,2", "wait_for=go")
    hpcorch("hold", "last")
    hpcorch("cancel", "-y")
    events = json.loads(hpcorch("show", "--events", "--json").out)["events"]
    asked = [event["body"] for event in events if event["kind"] == "control-requested"]
    assert asked[-1]["action"] == "cancel"
    assert (asked[-1]["runs"], asked[-1]["user"]) == ("0-1", own_name())
    assert hpcorch("ledger", "check").code == 0


def test_only_ones_own_sweep_on_its_own_cluster(hpcorch, fake_slurm, tmp_path, monkeypatch):
    theirs = make_sweep(tmp_path, backend="slurm", user="alice")
    theirs.submit([0, 1], job_id="1", backend="slurm")
    theirs.ingest()
    away = make_sweep(tmp_path, sweep="20260102-090000-wxyz", backend="slurm", cluster="elsewhere")
    away.submit([0, 1], job_id="1", backend="slurm")
    away.ingest()
    for verb in (["cancel", "-y"], ["hold"], ["release"], ["retry"]):
        other = hpcorch(verb[0], theirs.id, *verb[1:])
        assert (other.code, "alice" in other.err) == (2, True)
        far = hpcorch(verb[0], away.id, *verb[1:])
        assert (far.code, "log in to elsewhere" in far.err) == (2, True)


def test_runs_that_were_never_submitted_or_may_have_been_are_told_of_honestly(
    hpcorch, fake_slurm, tmp_path, monkeypatch
):
    sweep = make_sweep(tmp_path, backend="slurm")
    intent = {"submission": 0, "launch": 0, "runs": "0", "token": "f" * 32, "backend": "slurm"}
    sweep.record(
        ev.SubmissionIntended(**intent, host="login1", script=""),
        ev.SubmissionUnknown(submission=0, reason="sbatch did not answer"),
    )
    sweep.ingest()
    ran = hpcorch("cancel", "-y")
    assert ran.code == 3
    assert "it is not known yet whether Slurm has run 0" in ran.err
    assert "cancel run 1 of sweep" in ran.out
    assert "(not submitted yet)" in ran.out
    (run,) = json.loads(hpcorch("status", "last/1", "--json").out)["runs"]
    assert run["state"] == "CANCELLED"
    assert run["reason"] == f"cancelled by {own_name()} before it was submitted"
    assert "not over yet (UNCERTAIN)" in hpcorch("retry", "last/0").err


def test_what_slurm_refused_still_says_why_after_it_was_cancelled(hpcorch, fake_slurm, tmp_path, monkeypatch):
    sweep = make_sweep(tmp_path, backend="slurm")
    sweep.submit([0, 1], backend="slurm")
    sweep.record(ev.SubmissionRejected(submission=0, reason="there is no such partition"))
    sweep.ingest()
    assert hpcorch("cancel", "-y").code == 0
    shown = json.loads(hpcorch("status", "--json").out)
    assert shown["counts"] == {"CANCELLED": 2}
    for run in shown["runs"]:
        assert run["reason"] == (
            f"cancelled by {own_name()} before it was submitted; Slurm had refused it: there is no such partition"
        )


def test_without_slurm_nothing_is_asked_and_the_exit_code_is_3(hpcorch, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    sweep = make_sweep(tmp_path, backend="slurm")
    sweep.submit([0, 1], job_id="1", backend="slurm")
    sweep.ingest()
    for verb in (["cancel", "-y"], ["hold"], ["release"], ["retry"]):
        ran = hpcorch(*verb)
        assert ran.code == 3
        assert len(ran.err.splitlines()) == 1


# retry ----------------------------------------------------------------------------------------------------------


def frail(app: App, *arguments: str) -> None:
    (app.folder / "app.py").write_text(FRAIL)
    done = app.launch("+x=1,2,3,4", *arguments)
    assert done.returncode in (0, 1), done.stderr


def test_retry_runs_what_failed_again_with_the_same_identity(hpcorch, on_slurm):
    frail(on_slurm)
    before = runs(hpcorch)
    assert [run["state"] for run in before] == ["COMPLETED", "FAILED", "FAILED", "COMPLETED"]
    dry = hpcorch("retry", "--dry-run")
    assert dry.code == 0
    assert "would run again as one array: runs 1-2, of the launch that began with run 0" in dry.out
    (on_slurm.folder / "repaired").touch()
    done = json.loads(hpcorch("retry", "--json").out)
    assert done["submitted"] == [{"launch": 0, "runs": [1, 2], "job_id": "2"}]
    assert hpcorch("wait", "--timeout", "200").code == 0
    after = runs(hpcorch)
    for old, new in zip(before, after, strict=True):
        assert all(old[key] == new[key] for key in ("index", "seed", "directory", "config_digest", "overrides"))
    assert [run["job_id"] for run in after] == ["1_0", "2_0", "2_1", "1_3"]
    assert [[a["attempt"] for a in run["attempts"]] for run in after[:2]] == [["s0.r0"], ["s0.r0", "s1.r0"]]
    ((first, second, *_),) = api.collect()
    assert (first.return_value["x"], second.return_value["x"]) == (1, 2)
    assert second.return_value["seed"] == str(after[1]["seed"])
    again = hpcorch("retry", "last/1")
    assert again.code == 0
    assert "run 1 left alone: already completed" in again.err


def test_retry_makes_one_array_a_launch(hpcorch, on_slurm):
    (on_slurm.folder / "app.py").write_text(FRAIL)
    leave(on_slurm, "+x=2,1,3", "hydra.sweeper.max_batch_size=2")
    hpcorch("wait", "--timeout", "200")
    done = json.loads(hpcorch("retry", "--json").out)
    assert [(one["launch"], one["runs"]) for one in done["submitted"]] == [(0, [0]), (2, [2])]


def test_two_retries_at_once_submit_once(hpcorch, on_slurm):
    frail(on_slurm)
    (on_slurm.folder / "repaired").touch()  # what failed once more would rightly be retried by the slower one
    command = [sys.executable, "-c", "from hpcorch.cli.main import main; main()", "retry", "--json"]
    both = [processes.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [json.loads(one.communicate(timeout=120)[0])["runs"] for one in both]
    assert sorted(answers) == [[], [1, 2]]
    jobs = json.loads((Path(os.environ["FAKE_SLURM_DIR"]) / "jobs.json").read_text())
    assert len(jobs) == 2


def test_retry_never_touches_what_is_alive(hpcorch, on_slurm):
    leave(on_slurm, "x=1,2,3", "wait_for=go")
    wait_until(lambda: started(on_slurm, 1, 2))
    ran = hpcorch("retry", "last")
    assert (ran.code, ran.out) == (0, "")
    assert "there is nothing to run again" in ran.err
    assert "runs 0-1 left alone: not over yet (RUNNING)" in ran.err


def test_an_element_that_still_lives_is_ended_before_its_run_starts_again(hpcorch, on_slurm, requests):
    (on_slurm.folder / "app.py").write_text(FRAIL)
    leave(on_slurm, "+x=1,2", "+linger=true")
    wait_until(lambda: runs(hpcorch)[1]["state"] == "FAILED")
    (on_slurm.folder / "repaired").touch()
    assert hpcorch("retry").code == 0
    assert requests[0] == ("cancel", ["1_1"])
    jobs = json.loads((Path(os.environ["FAKE_SLURM_DIR"]) / "jobs.json").read_text())
    assert jobs["1"]["tasks"]["1"]["end"] < jobs["2"]["submit"]
    assert hpcorch("wait", "--timeout", "200").code == 0


def test_keys_of_the_launcher_can_be_changed_for_a_retry(hpcorch, on_slurm):
    frail(on_slurm, "hydra.launcher.mem_gb=1", "hydra.launcher.partition=short")
    wrong = hpcorch("retry", "--set", "memory=3")
    assert (wrong.code, "mem_gb" in wrong.err) == (2, True)
    assert hpcorch("retry", "--set", "mem_gb=lots").code == 2
    assert hpcorch("retry", "--set", "mem_gb=3").code == 0
    script = on_slurm.script(1).read_text()
    assert "--mem=3" in script
    assert "--partition=short" in script
    events = json.loads(hpcorch("show", "--events", "--json").out)["events"]
    changed = [e["body"].get("changed") for e in events if e["kind"] == "submission-intended"]
    assert changed == [None, {"mem_gb": 3}]


def test_a_refused_retry_says_so_and_leaves_the_runs_as_they_were(hpcorch, on_slurm):
    frail(on_slurm)
    ran = hpcorch("retry", "--set", "partition=nosuch")
    assert ran.code == 2
    assert "nosuch" in ran.err
    assert [run["state"] for run in runs(hpcorch)] == ["COMPLETED", "FAILED", "FAILED", "COMPLETED"]


# Without Slurm --------------------------------------------------------------------------------------------------


def test_a_local_sweep_is_cancelled_through_its_pool(hpcorch, locally):
    sweep = locally.start("x=1,2,3", "wait_for=never", "hydra.launcher.slots=2")
    wait_until(lambda: started(locally, 1, 2))
    assert hpcorch("cancel", "-y").code == 0
    assert sweep.wait(timeout=120) == 128 + 15
    assert [run["reason"] for run in runs(hpcorch)] == [BY_ME] * 3


def test_single_tasks_of_a_local_sweep_are_cancelled_and_the_others_go_on(hpcorch, locally):
    sweep = locally.start("x=1,2,3", "wait_for=go", "hydra.launcher.slots=2")
    wait_until(lambda: started(locally, 1, 2))
    assert hpcorch("cancel", "last/0,2", "-y").code == 0
    wait_until(lambda: runs(hpcorch)[0]["state"] == "CANCELLED")
    (locally.folder / "go").touch()
    assert sweep.wait(timeout=120) == 1, locally.output
    found = runs(hpcorch)
    assert [run["state"] for run in found] == ["CANCELLED", "COMPLETED", "CANCELLED"]
    assert [run["reason"] for run in found] == [BY_ME, None, BY_ME]
    assert not started(locally, 3)


def test_tasks_of_a_local_sweep_are_asked_to_end_after_a_checkpoint(hpcorch, locally):
    sweep = locally.start("x=1,2,3", "wait_for=never", "hydra.launcher.slots=2")
    wait_until(lambda: started(locally, 1, 2))
    asked = json.loads(hpcorch("cancel", "--checkpoint", "-y", "--json").out)
    assert (asked["runs"], asked["asked_to_checkpoint"]) == ([0, 1, 2], [0, 1])
    assert sweep.wait(timeout=120) == 1, locally.output
    found = runs(hpcorch)
    assert {run["state"] for run in found} == {"CANCELLED"}
    assert [run["reason"] for run in found] == [f"{BY_ME} --checkpoint"] * 2 + [BY_ME]
    assert not started(locally, 3)


def test_a_task_that_does_not_heed_the_signal_is_killed(hpcorch, locally, tune):
    tune(LOCAL_GRACE_S=0.5)
    (locally.folder / "app.py").write_text(
        "import pathlib, signal, time, hydra\n"
        "@hydra.main(version_base=None, config_path=None)\n"
        "def main(cfg):\n"
        "    if cfg.x == 1:\n"
        "        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "        pathlib.Path('started-1').touch()\n"
        "        time.sleep(60)\n"
        "main()\n"
    )
    sweep = locally.start("+x=1,2")
    wait_until(lambda: started(locally, 1))
    assert hpcorch("cancel", "last/0", "-y").code == 0
    assert sweep.wait(timeout=120) == 1
    assert [(run["state"], run["reason"]) for run in runs(hpcorch)] == [("CANCELLED", BY_ME), ("COMPLETED", None)]


def test_a_process_that_only_has_the_pools_number_is_left_alone(hpcorch, tmp_path, monkeypatch):
    sleeper = processes.start(["sleep", "60"])
    sweep = make_sweep(tmp_path)
    sweep.submit([0, 1], job_id=f"{os.uname().nodename}:{sleeper.pid}:1000")
    sweep.ingest()
    hpcorch("cancel", "-y")
    assert sleeper.poll() is None
    sleeper.kill()
    sleeper.wait()


def test_a_local_sweep_has_no_queue_to_hold_runs_in(hpcorch, tmp_path, monkeypatch):
    finished_sweep(tmp_path)
    ran = hpcorch("hold", SWEEP)
    assert (ran.code, "hpcorch retry" in ran.err) == (2, True)


def test_a_local_retry_runs_here_and_ends_with_its_runs(hpcorch, locally):
    frail(locally)
    before = runs(hpcorch)
    still = hpcorch("retry", "-s", "F")
    assert still.code == 1
    (locally.folder / "repaired").touch()
    assert hpcorch("retry", "--set", "slots=1").code == 0
    after = runs(hpcorch)
    assert [run["state"] for run in after] == ["COMPLETED"] * 4
    assert [len(run["attempts"]) for run in after] == [1, 3, 3, 1]
    assert [run["directory"] for run in after] == [run["directory"] for run in before]
