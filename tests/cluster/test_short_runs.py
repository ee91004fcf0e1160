"""The guide's job for many short runs: a sweep in one job, which goes on where it was when the job starts again."""

from __future__ import annotations

import json

from tests.docs.pages import Page
from tests.support.waiting import wait_until

APP = """
import os, time
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    with open(f"../ran-{cfg.x}", "a") as file:
        file.write(f"{os.environ['SLURM_RESTART_COUNT'] if 'SLURM_RESTART_COUNT' in os.environ else 0}\\n")
    time.sleep(0.5)
    return cfg.x

main()
"""
RUNS = 20


def test_a_sweep_within_one_job_goes_on_where_it_was_when_the_job_is_requeued(lab, as_alice, workspace):
    script = Page("docs/guide/short-runs.md").block("file: short.sbatch")
    project = workspace / "project"  # whose files are code: the runs write elsewhere
    as_alice.output(["mkdir", "project"])
    (project / "train.py").write_text(APP)
    (project / "short.sbatch").write_text(script.replace(" x=", " +x="))
    job = as_alice.output(["sbatch", "--parsable", "short.sbatch"], cwd=project)
    wait_until(lambda: len(list(workspace.glob("ran-*"))) >= 6, 100)
    as_alice.output(["scontrol", "requeue", job])
    wait_until(
        lambda: state(as_alice, job) == "COMPLETED", 300, interval_s=2.0
    )  # Slurm waits for two minutes first
    last = json.loads(as_alice.output(["hpcorch", "status", "last", "--json"], cwd=project))
    runs = last["runs"]
    assert [run["state"] for run in runs] == ["COMPLETED"] * RUNS
    assert [run["result"] for run in runs] == list(range(RUNS))
    restarts = [(workspace / f"ran-{x}").read_text().split() for x in range(RUNS)]
    assert sum(one == ["0"] for one in restarts) >= 4  # completed in the first execution, and taken over
    assert sum(run["reused_from"] is not None for run in runs) == sum(one == ["0"] for one in restarts)
    assert all(len(one) <= 2 for one in restarts)


def state(as_alice, job: str) -> str:
    return as_alice.output(["squeue", "-h", "-t", "all", "-j", job, "-o", "%T"]) or "?"
