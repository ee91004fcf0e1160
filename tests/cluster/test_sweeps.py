"""Sweeps of the example application on real daemons, as a user types them."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

_TESTS = Path(__file__).parents[1]
TRAIN = _TESTS.parent / "scripts" / "train.py"

APP = """
import os, sys, time
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    while cfg.get("wait_for") and not os.path.exists(cfg.wait_for):
        time.sleep(0.1)
    if cfg.get("fail", 0) == cfg.get("x", None):
        print("about to fail")
        raise ValueError(f"no good: {cfg.x}")
    return cfg.get("value", cfg.get("x"))

main()
"""


@pytest.fixture
def app(workspace):
    path = workspace / "app.py"
    path.write_text(APP)
    return path


@pytest.fixture
def slow(workspace):
    """An application that is long at its first start, and done at once when it is started again."""
    path = workspace / "slow.py"
    path.write_text(
        "import os, time, hydra\n"
        "@hydra.main(version_base=None, config_path=None)\n"
        "def main(cfg):\n"
        "    time.sleep(0 if 'SLURM_RESTART_COUNT' in os.environ else 200)\n"
        "    return cfg.x\n"
        "main()\n"
    )
    return path


def launch(as_alice, app, *arguments, timeout_s=200):
    return as_alice(["python", str(app), "-m", "hydra/launcher=hpcorch_slurm", *arguments], timeout_s=timeout_s)


def status(as_alice):
    return json.loads(as_alice(["hpcorch", "status", "last", "--json"]).stdout)


def sacct(as_alice, array, fields):
    text = as_alice.output(["sacct", "-X", "-n", "-P", "-j", array, "-o", ",".join(fields)])
    return [dict(zip(fields, line.split("|"), strict=True)) for line in text.splitlines()]


def test_twelve_runs_hold_gpus_and_licences_and_are_all_in_the_ledger(lab, as_alice, workspace):
    """The example of the README: never more licences than the cluster has, job ids that sacct confirms."""
    flags = ["model.lr=0.05,0.1", "seed=1,2,3", "optimizer=sgd,adam", "epochs=2"]
    asked = ["hydra.launcher.gres=gpu:1", "hydra.launcher.licenses={scratch: 1}"]
    done = launch(as_alice, TRAIN, *flags, *asked)
    assert done.returncode == 0, done.stderr
    runs = status(as_alice)["runs"]
    assert [run["state"] for run in runs] == ["COMPLETED"] * 12
    assert {run["seed"] for run in runs} == {1, 2, 3}
    assert all(run["result"] > 0.5 for run in runs)
    array = runs[0]["job_id"].split("_")[0]
    rows = settled(as_alice, array, 12, ["JobID", "State", "Start", "End", "AllocTRES"])
    assert {row["JobID"] for row in rows} == {run["job_id"] for run in runs}
    assert all("gres/gpu=1" in row["AllocTRES"] and "license/scratch=1" in row["AllocTRES"] for row in rows)
    assert most_at_once(rows) <= 4


def most_at_once(rows) -> int:
    """How many jobs ran at once at most; one that ends in the second in which another starts made room for it."""
    changes = sorted([(row["Start"], 1) for row in rows] + [(row["End"], -1) for row in rows])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most


def test_a_failing_run_fails_alone_and_slurm_says_so_too(as_alice, app):
    done = launch(as_alice, app, "+x=1,2,3", "+fail=2")
    assert done.returncode == 1
    assert "run 1 (+x=2 +fail=2) failed: ValueError: no good: 2" in done.stderr
    assert "about to fail" in done.stderr
    assert "Traceback (most recent call last)" not in done.stderr.split("|")[0]
    seen = status(as_alice)
    assert [run["state"] for run in seen["runs"]] == ["COMPLETED", "FAILED", "COMPLETED"]
    assert [run["result"] for run in seen["runs"]] == [1, None, 3]
    array = seen["runs"][0]["job_id"].split("_")[0]
    rows = {row["JobID"]: row["State"] for row in settled(as_alice, array, 3)}
    assert rows == {f"{array}_0": "COMPLETED", f"{array}_1": "FAILED", f"{array}_2": "COMPLETED"}


def settled(as_alice, array, count, fields=("JobID", "State")):
    """What sacct says once it has heard of every end; it is late by seconds."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        rows = sacct(as_alice, array, fields)
        if len(rows) == count and not {row["State"] for row in rows} & {"PENDING", "RUNNING"}:
            return rows
        time.sleep(0.25)
    raise AssertionError(f"sacct still says {rows}")


def test_a_detached_sweep_is_submitted_honestly_and_ends_by_itself(as_alice, app, workspace):
    done = launch(as_alice, app, "+x=1,2", "+wait_for=go", "hydra.launcher.detach=true")
    assert done.returncode == 0, done.stderr
    assert "hpcorch status" in done.stdout + done.stderr
    first = status(as_alice)
    assert Counter(run["state"] for run in first["runs"]) <= Counter(["SUBMITTED"] * 2 + ["RUNNING"] * 2)
    (workspace / "go").touch()
    wait_until(lambda: status(as_alice)["state"] == "COMPLETED", timeout_s=60)


def test_a_larger_grid_adds_an_array_to_the_sweep_while_the_first_still_runs(as_alice, app, workspace):
    launch(as_alice, app, "+x=1,2", "+wait_for=go", "hydra.launcher.detach=true")
    first = status(as_alice)
    done = as_alice(["hpcorch", "extend", "last", "x=1,2,3,4"], timeout_s=60)
    assert done.returncode == 0, done.stderr
    (workspace / "go").touch()
    wait_until(lambda: status(as_alice)["state"] == "COMPLETED", timeout_s=60)
    last = status(as_alice)
    assert last["sweep"] == first["sweep"]
    assert [run["result"] for run in last["runs"]] == [1, 2, 3, 4]
    arrays = [run["job_id"].split("_")[0] for run in last["runs"]]
    assert arrays[0] == arrays[1] != arrays[2] == arrays[3]
    assert {row["State"] for array in set(arrays) for row in settled(as_alice, array, 2)} == {"COMPLETED"}


def test_nothing_is_left_behind_by_a_refused_submission(as_alice, app):
    done = launch(as_alice, app, "+x=1,2", "hydra.launcher.partition=nosuch", "hydra.sweep.dir=out")
    assert done.returncode == 1
    assert "nosuch" in done.stderr
    assert "sinfo" in done.stderr
    assert "Traceback" not in done.stderr
    assert as_alice.output(["squeue", "-h", "-u", "alice", "-t", "all", "-o", "%Z"]).count(str(app.parent)) == 0
    assert {run["state"] for run in status(as_alice)["runs"]} == {"PLANNED"}
    again = launch(as_alice, app, "+x=1,2", "hydra.sweep.dir=out")
    assert again.returncode == 0, again.stderr


def test_hostile_values_reach_the_task_byte_for_byte(as_alice, app, workspace):
    values = ["it's", 'say "hi"', "a\nb", "$(touch gone)", "`id`", "ü\u2028€", "a,b", "%j", "\\", " lead", "*?[a]"]
    quoted = ["'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" for value in values]
    done = launch(as_alice, app, f"+value={','.join(quoted)}")
    assert done.returncode == 0, done.stderr
    assert [run["result"] for run in status(as_alice)["runs"]] == values
    assert not (workspace / "gone").exists()


def test_rank_0_alone_records_a_run_of_several_tasks(as_alice, workspace):
    ranks = workspace / "ranks.py"
    ranks.write_text(
        "import os, pathlib, hydra\n"
        "@hydra.main(version_base=None, config_path=None)\n"
        "def main(cfg):\n"
        '    pathlib.Path(f\'rank-{os.environ["SLURM_PROCID"]}-{os.environ["SLURM_NODEID"]}\').touch()\n'
        "    return int(os.environ['SLURM_PROCID'])\n"
        "main()\n"
    )
    done = launch(as_alice, ranks, "+x=1", "hydra.launcher.nodes=2", "hydra.launcher.tasks_per_node=2")
    assert done.returncode == 0, done.stderr
    ranks_seen = sorted(path.name for path in workspace.glob("rank-*"))
    assert ranks_seen == ["rank-0-0", "rank-1-0", "rank-2-1", "rank-3-1"]
    (run,) = status(as_alice)["runs"]
    assert (run["state"], run["result"], len(run["attempts"])) == ("COMPLETED", 0, 1)
    (sweep,) = (workspace / "multirun").glob("*/*")
    assert len(list((sweep / ".hpcorch" / "journal").iterdir())) == 1


def test_submitting_from_inside_a_job_does_not_leak_it_into_the_runs(as_alice, workspace):
    leak = workspace / "leak.py"
    leak.write_text(
        "import os, hydra\n"
        "@hydra.main(version_base=None, config_path=None)\n"
        "def main(cfg):\n"
        "    return {k: os.environ.get(k) for k in ('SLURM_CPUS_PER_TASK', 'SLURM_JOB_NAME', 'SLURM_CPU_BIND')}\n"
        "main()\n"
    )
    inner = f"python {leak} -m hydra/launcher=hpcorch_slurm +x=1 hydra.launcher.name=child"
    parent = ["sbatch", "--wait", "-c", "3", "-J", "parent", "-o", "parent.log", "--wrap", inner]
    done = as_alice(parent, env={"SLURM_CPU_BIND": "map_cpu:0"}, timeout_s=120)
    assert done.returncode == 0, (workspace / "parent.log").read_text()
    (run,) = status(as_alice)["runs"]
    assert run["result"] == {"SLURM_CPUS_PER_TASK": None, "SLURM_JOB_NAME": "child", "SLURM_CPU_BIND": None}


@pytest.mark.timeout(600)
def test_hydras_own_launcher_suites_pass(as_alice, workspace):
    suite = workspace / "suite"
    suite.mkdir()
    shutil.chown(suite, "alice", "alice")  # the snapshot of its code is kept below it
    shutil.copy(_TESTS / "support" / "conformance" / "hydra_launchers.py", suite / "test_hydra_suites.py")
    options = ["-q", "-p", "no:cacheprovider", "--basetemp", str(workspace / "t")]
    command = ["python", "-B", "-m", "pytest", *options, "."]
    done = as_alice(command, cwd=suite, env={"HPCORCH_SUITE_LAUNCHER": "hpcorch_slurm"}, timeout_s=580)
    assert done.returncode == 0, done.stdout[-4000:]


def test_a_run_near_its_time_limit_is_requeued_as_often_as_allowed(as_alice, slow):
    # Slurm looks at limits every 30 s, and warns as much early: here from second 10 on, when the task heeds it.
    keys = ["timeout_min=2", "signal_delay_s=80", "max_num_timeout=1"]
    done = launch(as_alice, slow, "+x=1", *(f"hydra.launcher.{key}" for key in keys))
    assert done.returncode == 0, done.stderr
    (run,) = status(as_alice)["runs"]
    assert [attempt["signal"] for attempt in run["attempts"]] == ["SIGUSR1", None]
    assert run["result"] == 1
