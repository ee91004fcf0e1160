"""Sweeps that look after themselves on real daemons: nobody is logged in, and nothing runs twice."""

from __future__ import annotations

import json
import shlex

import pytest

from tests.support.waiting import wait_until

APP = """
import os, pathlib, time
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    tries = pathlib.Path(f"tries-{cfg.x}")
    with tries.open("a") as file:
        file.write(f"{os.environ['SLURM_JOB_ID']}\\n")
    count = len(tries.read_text().splitlines())
    if count <= cfg.get("failures", 0):
        raise OSError("the disk is full")
    if count == 1 and cfg.get("stays"):
        time.sleep(300)
    return cfg.x

main()
"""


@pytest.fixture
def app(workspace):
    path = workspace / "app.py"
    path.write_text(APP)
    return path


@pytest.fixture
def launch(as_alice, app):
    def call(*arguments, **options):
        words = ["python", str(app), "-m", "hydra/launcher=hpcorch_slurm", *arguments]
        done = as_alice(words, timeout_s=250, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return call


@pytest.fixture
def status(as_alice):
    return lambda *words: json.loads(as_alice(["hpcorch", "status", "last", "--json", *words]).stdout)


@pytest.fixture
def my_jobs(as_alice, workspace):
    """Names of the jobs that were submitted in this test's folder, the latest last; arrays count once."""

    def names():
        rows = as_alice.output(["squeue", "-h", "-t", "all", "-o", "%F|%j|%Z"]).splitlines()
        mine = {
            (int(number), name)
            for number, name, place in (row.split("|", 2) for row in rows)
            if place == str(workspace)
        }
        return [name for _, name in sorted(mine)]

    return names


def tries(workspace, x):
    path = workspace / f"tries-{x}"
    return path.read_text().split() if path.exists() else []


def test_what_a_preemption_cancels_is_completed_by_the_keeper_with_nobody_logged_in(
    lab, launch, as_alice, workspace, status, my_jobs
):
    launch("+x=1,2", "+stays=true", "hydra.launcher.partition=cancelp", "hydra.launcher.detach=true")
    wait_until(lambda: tries(workspace, 1) and tries(workspace, 2))
    as_alice.output(["sbatch", "-p", "urgent", "-N4", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 2"])
    wait_until(lambda: len(tries(workspace, 1)) == 2 and len(tries(workspace, 2)) == 2, timeout_s=200)
    wait_until(lambda: not as_alice.output(["squeue", "-h", "-o", "%i"]), timeout_s=60)
    seen = status()
    assert [run["state"] for run in seen["runs"]] == ["COMPLETED"] * 2
    for run in seen["runs"]:
        assert [attempt["state"] for attempt in run["attempts"]] == ["PREEMPTED", "COMPLETED"]
    assert my_jobs().count("app-keeper") == my_jobs().count("app")


def test_a_run_that_fails_is_run_again_while_its_launcher_waits(launch, status):
    alone = "hydra.launcher.keeper=false"  # else either of both may be the first to see to a retry
    done = launch("+x=1,2", "+failures=1", "hydra.launcher.max_retries=2", alone)
    assert "retry 1 of 2 after FAILED" in done.stdout + done.stderr
    for run in status()["runs"]:
        assert run["state"] == "COMPLETED"
        assert [attempt["state"] for attempt in run["attempts"]] == ["FAILED", "COMPLETED"]


def test_a_run_that_fails_twice_is_run_again_by_the_keepers_with_nobody_logged_in(launch, workspace, status):
    launch("+x=1", "+failures=2", "hydra.launcher.max_retries={FAILED: 2}", "hydra.launcher.detach=true")
    wait_until(lambda: len(tries(workspace, 1)) == 3, timeout_s=200)
    wait_until(lambda: status()["state"] == "COMPLETED")


@pytest.fixture
def failed(launch, as_alice, status):
    """Launches a run that fails once, with a retry that nobody has submitted yet."""

    def call(**options):
        keys = ["hydra.launcher.max_retries=1", "hydra.launcher.keeper=false", "hydra.launcher.detach=true"]
        launch("+x=1", "+failures=1", *keys, **options)
        wait_until(lambda: status()["runs"][0]["retry"])

    return call


def test_two_who_tend_at_once_submit_once(failed, as_alice, workspace, status, my_jobs):
    failed()
    as_alice.output(["bash", "-c", "for i in 1 2 3 4; do hpcorch tend & done; wait"])
    assert my_jobs() == ["app", "app"]
    wait_until(lambda: status()["state"] == "COMPLETED", timeout_s=90)
    assert len(tries(workspace, 1)) == 2


def test_a_tender_killed_in_the_midst_of_submitting_leaves_one_array(failed, as_alice, workspace, status, my_jobs):
    """An sbatch of the user's own kills who called it as soon as Slurm has the array."""
    folder = workspace / "bin"
    folder.mkdir()
    real = as_alice.output(["which", "sbatch"])
    wrapper = folder / "sbatch"
    wrapper.write_text(
        f'#!/bin/bash\n{real} "$@"; code=$?\n'
        f'if [[ -e {shlex.quote(str(workspace))}/armed && $* != *--test-only* ]]; then kill -9 "$PPID"; fi\n'
        "exit $code\n"
    )
    wrapper.chmod(0o755)
    path = as_alice.output(["bash", "-c", "echo $PATH"])
    failed(env={"PATH": f"{folder}:{path}"})
    (workspace / "armed").touch()
    assert as_alice(["hpcorch", "tend"]).returncode != 0
    (workspace / "armed").unlink()
    assert my_jobs() == ["app", "app"]
    as_alice.output(["hpcorch", "tend"])
    wait_until(lambda: status()["state"] == "COMPLETED", timeout_s=90)
    assert my_jobs() == ["app", "app"]
    assert len(tries(workspace, 1)) == 2
