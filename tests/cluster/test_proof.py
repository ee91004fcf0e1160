"""What ran on real daemons is proven afterwards, and repeated to the bit."""

from __future__ import annotations

import json

import pytest

from tests.support.waiting import wait_until

APP = """
import pathlib, random, time
import hydra
import hpcorch

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    run = hpcorch.current_run()
    checkpoint = run.restore()
    total, done = checkpoint.state if checkpoint else (0.0, 0)
    for step in range(done + 1, 9):
        total += random.random()
        run.save(step, (total, step))
        while step == 5 and pathlib.Path("wait").exists():
            time.sleep(0.1)
    return total

main()
"""


@pytest.fixture
def app(workspace):
    path = workspace / "app.py"
    path.write_text(APP)
    return path


def test_a_requeued_run_audits_clean_travels_and_is_repeated_to_the_bit(as_alice, app, workspace):
    as_alice.output(["touch", "wait"])
    words = ["python", app, "-m", "hydra/launcher=hpcorch_slurm", "+x=1,2", "hydra.launcher.detach=true"]
    as_alice.output(list(map(str, words)))

    def audit(*options):
        done = as_alice(["hpcorch", "audit", "--json", *options])
        return done.returncode, json.loads(done.stdout)

    def runs():
        return json.loads(as_alice.output(["hpcorch", "status", "last", "--json"]))["runs"]

    wait_until(lambda: all(run["step"] == 5 for run in runs()), timeout_s=90)
    as_alice.output(["scontrol", "requeue", runs()[0]["job_id"]])
    as_alice.output(["rm", "wait"])
    done = as_alice(["hpcorch", "wait", "last"], timeout_s=240)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = ["squeue", "-h", "-o", "%Z"]  # the keeper has its last word, too
    wait_until(lambda: str(workspace) not in as_alice.output(jobs).split(), timeout_s=120)

    code, found = audit("last")
    assert (code, [f for f in found["findings"] if f["severity"] != "note"]) == (0, [])
    assert found["intact"]["batch scripts"] >= 1
    first, second = found["sweeps"][0]["runs"][0]["attempts"][:2]
    assert first["restored"] is None
    assert (second["restored"]["attempt"], second["restored"]["generators"]) == ("0.s0.r0", ["random"])

    as_alice.output(["hpcorch", "export", "bundle", "last", "bundle"])
    assert audit("--bundle", "bundle")[0] == 0
    again = as_alice(["hpcorch", "reproduce", "last/0", "again", "--bundle", "bundle", "--trust-code", "--json"])
    assert again.returncode == 0, again.stdout + again.stderr
    compared = json.loads(again.stdout)
    assert compared["sameness"] == "identical"
    assert "checkpoint of step 8" in [entry["what"] for entry in compared["compared"]]

    (script,) = (workspace / "multirun").glob("*/*/.hpcorch/submissions/s0-*.sbatch")
    as_alice.output(["sed", "-i", "s/hpcorch.runtime/other.runtime/", str(script)])
    code, found = audit("last")
    assert code == 1
    assert [script.name in f["touched"] for f in found["findings"] if f["severity"] == "error"] == [True]


def test_slurm_repeats_a_run_with_what_it_asked_for_and_who_left_asks_again(as_alice, app, workspace):
    keys = ["hydra.launcher.mem_gb=1", "hydra.launcher.timeout_min=5"]
    done = as_alice(["python", str(app), "-m", "hydra/launcher=hpcorch_slurm", "+x=1", *keys])
    assert done.returncode == 0, done.stdout + done.stderr
    (original,) = as_alice.output(["hpcorch", "ls", "-q"]).split()
    as_alice.output(["touch", "wait"])
    again = ["hpcorch", "reproduce", f"{original}/0", "again"]

    left = as_alice(["timeout", "-s", "INT", "15", *again, "--set", "partition=preempt"])
    assert f"hpcorch reproduce {original}/0 again" in left.stderr, left.stdout + left.stderr
    repetition = as_alice.output(["hpcorch", "ls", "-q"]).split()[0]

    def run():
        return json.loads(as_alice.output(["hpcorch", "status", repetition, "--json"]))["runs"][0]

    wait_until(lambda: run()["step"] == 5, timeout_s=60)
    asked = as_alice.output(["squeue", "-h", "-j", run()["job_id"].split("_")[0], "-o", "%P %m %l"])
    assert asked == "preempt 1G 5:00"
    as_alice.output(["rm", "wait"])
    done = as_alice([*again, "--json"])
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["reproduction"], found["sameness"]) == (f"{repetition}/0", "identical")
    assert "checkpoint of step 8" in [entry["what"] for entry in found["compared"]]
    assert as_alice(["hpcorch", "audit", "--all"]).returncode == 0
