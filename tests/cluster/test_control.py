"""A sweep that was left, steered from the command line, on real daemons."""

from __future__ import annotations

import json

import pytest

from tests.support.waiting import wait_until

APP = """
import os, pathlib, time
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    while not pathlib.Path("go").exists():
        time.sleep(0.2)
    return {"x": cfg.x, "job": os.environ["SLURM_ARRAY_JOB_ID"]}

main()
"""


@pytest.fixture
def app(workspace):
    path = workspace / "app.py"
    path.write_text(APP)
    return path


@pytest.fixture
def hpcorch(as_alice):
    def run(*words, code=0):
        done = as_alice(["hpcorch", *words])
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done

    return run


def runs(hpcorch_, code=0):
    return json.loads(hpcorch_("status", "last", "--refresh", "--json", code=code).stdout)["runs"]


def test_a_sweep_is_left_held_released_cancelled_retried_and_collected(as_alice, app, workspace, hpcorch):
    flags = ["+x=0,1,2,3", "hydra.launcher.array_parallelism=2", "hydra.launcher.detach=true"]
    left = as_alice(["python", str(app), "-m", "hydra/launcher=hpcorch_slurm", *flags])
    assert left.returncode == 0, left.stderr
    wait_until(lambda: [run["state"] for run in runs(hpcorch)] == ["RUNNING", "RUNNING", "PENDING", "PENDING"])

    held = json.loads(hpcorch("hold", "last", "--json").stdout)
    assert (held["runs"], len(held["elements"])) == ([2, 3], 1)
    wait_until(lambda: [run["reason"] for run in runs(hpcorch)[2:]] == ["JobHeldUser"] * 2)

    hpcorch("cancel", "last/0", "-y")
    wait_until(lambda: runs(hpcorch, code=1)[0]["state"] == "CANCELLED")
    first, second, *waiting = runs(hpcorch, code=1)
    assert first["reason"] == "cancelled by alice with hpcorch cancel"
    assert second["state"] == "RUNNING"
    assert [run["state"] for run in waiting] == ["PENDING"] * 2  # there is room, but they are held

    hpcorch("release", "last/2")
    wait_until(lambda: runs(hpcorch, code=1)[2]["state"] == "RUNNING")
    hpcorch("cancel", "last/3", "-y")
    wait_until(lambda: runs(hpcorch, code=1)[3]["reason"] == "cancelled by alice with hpcorch cancel")

    (workspace / "go").touch()
    again = json.loads(hpcorch("retry", "last", "--set", "cpus_per_task=2", "--json").stdout)
    assert [one["runs"] for one in again["submitted"]] == [[0, 3]]
    hpcorch("wait", "last", "--timeout", "110")

    array, retried = runs(hpcorch)[1]["job_id"].split("_")[0], again["submitted"][0]["job_id"]
    script = (
        "import hpcorch, json; print(json.dumps([[r.return_value for r in l] for l in hpcorch.collect('last')]))"
    )
    (values,) = json.loads(as_alice.output(["python", "-c", script]))
    assert values == [{"x": x, "job": job} for x, job in enumerate([retried, array, array, retried])]
    rows = json.loads(hpcorch("collect", "last", "--json").stdout)
    assert [row["result"] for row in rows] == values
    asked = ["sacct", "-X", "-n", "-P", "-j", f"{retried}_0", "-o", "ReqCPUS"]
    wait_until(lambda: as_alice.output(asked) == "2")  # the database follows within seconds


STAYS = """
import atexit, time
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    atexit.register(time.sleep, 10_000)
    return cfg.x

if __name__ == "__main__":
    main()
"""


def test_a_job_whose_process_stays_after_the_work_is_told_of_and_ended(as_alice, app, hpcorch):
    app.write_text(STAYS)
    left = as_alice(
        ["python", str(app), "-m", "hydra/launcher=hpcorch_slurm", "hydra.launcher.detach=true", "+x=7"]
    )
    assert left.returncode == 0, left.stderr
    waited = hpcorch("wait", "last", "--timeout", "110")
    assert "run 0 is over, and its job still runs" in waited.stderr
    (run,) = runs(hpcorch)
    assert (run["state"], run["result"], run["lingers"]) == ("COMPLETED", 7, True)
    hpcorch("cancel", "last", "-y")
    wait_until(lambda: not runs(hpcorch)[0]["lingers"])
    assert runs(hpcorch)[0]["state"] == "COMPLETED"
    array = run["job_id"].split("_")[0]
    wait_until(lambda: array not in as_alice.output(["squeue", "-h", "-t", "R,CG", "-o", "%F"]).split())


def test_an_output_file_that_slurm_cannot_open_is_named(as_alice, workspace, hpcorch):
    warned = hpcorch("sbatch", "-o", "nolog/%A_%a.out", "--array=0-1", "--wrap=echo hi")
    assert "nolog for its output does not exist: make it" in warned.stderr

    def told():
        found = json.loads(as_alice(["hpcorch", "status", "last", "--refresh", "--json"]).stdout)["runs"]
        return [run["reason"] or "" for run in found]

    wait_until(lambda: all("could not open its output file" in reason for reason in told()))
    assert all("the folder does not exist or is not writable" in reason for reason in told())
    assert [f"{workspace}/nolog/" in reason for reason in told()] == [True, True]
