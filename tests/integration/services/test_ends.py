"""Ends of runs that are not the ends of their processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpcorch.model import events as ev
from tests.support.apps import App
from tests.support.command_line import CommandLine
from tests.support.fake_cluster import FakeCluster
from tests.support.sweeps import SweepOnDisk, make_sweep
from tests.support.tuning import Tune
from tests.support.waiting import wait_until

PROGRAM = """
import atexit, os, time
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    if cfg.how == "stay":
        atexit.register(time.sleep, 600)
    if cfg.how == "leave":
        os._exit(0)
    return 5

if __name__ == "__main__":
    main()
"""


def runs(hpcorch: CommandLine, *words: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(hpcorch("status", "last", *words, "--json").out)["runs"]
    return found


def shown(hpcorch: CommandLine, *words: str) -> dict[str, dict[str, object]]:
    return {run["overrides"][0].partition("=")[2]: run for run in runs(hpcorch, *words)}


def test_a_process_that_stays_is_told_of_and_ended_and_one_that_leaves_early_has_completed(
    on_slurm: App, cluster: FakeCluster, hpcorch: CommandLine, tune: Tune
) -> None:
    tune(JOB_STAYS_S=0.0, JOURNAL_LATE_S=-5.0)
    (on_slurm.folder / "app.py").write_text(PROGRAM)
    assert on_slurm.launch("hydra.launcher.detach=true", "+how=stay,leave").returncode == 0
    wait_until(lambda: {run["state"] for run in shown(hpcorch, "--refresh").values()} == {"COMPLETED"})
    left = shown(hpcorch)["leave"]
    assert (left["result"], left["lingers"]) == (None, False)
    assert "os._exit" in str(left["reason"])
    wait_until(lambda: shown(hpcorch, "--refresh")["stay"]["lingers"])
    sweep = on_slurm.summary().sweep.id
    assert (
        f"run 0 is over, and its job still runs: `hpcorch cancel {sweep}/0` ends" in hpcorch("status", "last").err
    )
    assert "its job still runs" in hpcorch("show", "last/0").out
    assert "its job still runs" in hpcorch("why", "last/0").out
    waited = hpcorch("wait", "last")
    assert waited.code == 0
    assert "its job still runs" in waited.err
    assert "asked to cancel run 0 of sweep" in hpcorch("cancel", "-y", "last").out
    cluster.wait_until_idle()
    ended = shown(hpcorch, "--refresh")["stay"]
    assert (ended["state"], ended["result"], ended["lingers"]) == ("COMPLETED", 5, False)
    assert "nothing to cancel" in hpcorch("cancel", "-y", "last").err


def test_a_job_is_cancelled_as_soon_as_its_function_has_returned_and_one_that_is_gone_is_over(
    on_slurm: App, cluster: FakeCluster, hpcorch: CommandLine, tune: Tune
) -> None:
    tune(JOB_STAYS_S=3600.0)
    (on_slurm.folder / "app.py").write_text(PROGRAM)
    assert on_slurm.launch("hydra.launcher.detach=true", "+how=stay").returncode == 0
    wait_until(lambda: [run["state"] for run in runs(hpcorch)] == ["COMPLETED"])
    assert "asked to cancel run 0 of sweep" in hpcorch("cancel", "-y", "last/0").out
    cluster.wait_until_idle()
    again = hpcorch("cancel", "-y", "last/0").err
    assert "nothing to cancel" in again
    assert "run 0 left alone: already over (COMPLETED)" in again
    assert [(run["state"], run["result"]) for run in runs(hpcorch)] == [("COMPLETED", 5)]


def test_a_launcher_whose_runs_are_over_ends_as_they_did_when_a_process_that_stays_is_cancelled(
    locally: App, hpcorch: CommandLine
) -> None:
    (locally.folder / "app.py").write_text(PROGRAM)
    launcher = locally.start("+how=stay")
    wait_until(lambda: "1 COMPLETED" in locally.output)
    assert "asked to cancel run 0 of sweep" in hpcorch("cancel", "-y", "last").out
    assert launcher.wait(timeout=60) == 0, locally.output
    assert "CANCELLED" not in locally.output
    assert [(run["state"], run["result"]) for run in runs(hpcorch)] == [("COMPLETED", 5)]
    assert "run 0 left alone: already over (COMPLETED)" in hpcorch("cancel", "-y", "last").err


@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_run_that_was_asked_to_end_is_cancelling_wherever_it_is_shown(
    hpcorch: CommandLine, sweep: SweepOnDisk, checkpoint: bool
) -> None:
    for run in (0, 1):
        sweep.start(run)
    values = {"submission": 0, "user": "alice", "uid": 1, "host": "login1"}
    sweep.record(ev.ControlRequested(action="cancel", runs="0-1", checkpoint=checkpoint, **values))
    found = runs(hpcorch)
    assert [run["state"] for run in found] == ["CANCELLING", "CANCELLING"]
    assert "by alice with hpcorch cancel" in str(found[0]["reason"])
    (listed,) = json.loads(hpcorch("ls", "--json").out)
    assert (listed["state"], listed["counts"]) == ("CANCELLING", {"CANCELLING": 2})
    assert "by alice with hpcorch cancel" in hpcorch("show", "last/0").out
    assert "asked" in json.loads(hpcorch("why", "last/0", "--json").out)["meaning"]
    assert len(hpcorch("status", "last", "-s", "CX", "-q").out.split()) == 2


def test_that_a_cancelled_run_has_ended_is_for_slurm_to_say(hpcorch: CommandLine, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, backend="slurm")
    sweep.submit([0, 1], job_id="4711", backend="slurm")
    sweep.start(0)
    values = {"submission": 0, "user": "alice", "uid": 1, "host": "login1"}
    sweep.record(ev.ControlRequested(action="cancel", runs="0", **values))
    sweep.ingest()
    said = hpcorch("status").err
    assert f"Slurm says when runs that are CANCELLING have ended: `hpcorch status {sweep.id} --refresh`" in said
