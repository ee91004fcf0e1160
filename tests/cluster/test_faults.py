"""The short form of the fault campaign (scripts/bench/faults.py), on a cluster whose daemons may be killed."""

from __future__ import annotations

import json
import sys

import pytest

from hpcorch import process
from tests.support.paths import REPOSITORY

CAMPAIGN = REPOSITORY / "scripts" / "bench" / "faults.py"
# Of each way to die one that is settled at once; what takes minutes is for the whole campaign.
KINDS = (
    "launcher-after-sbatch",
    "sbatch-twice-and-launcher-killed",
    "task-killed",
    "one-running-element-cancelled",
    "controller-and-database-restarted",
)


@pytest.mark.timeout(280)
def test_whatever_dies_every_run_ends_once_and_all_witnesses_agree(lab, tmp_path):
    native = process.run([str(CAMPAIGN.parents[1] / "slurm-lab"), "release"], timeout_s=10).stdout.strip()
    if lab.release != native:
        pytest.skip(f"the campaign has a cluster of its own, of this distribution's Slurm {native}")
    own = lab.work.parent.with_name(f"{lab.work.parent.name}-faults")
    options = ["--lab", str(own), "--venv", str(lab.venv), "--only", ",".join(KINDS), "--json"]
    done = process.run([sys.executable, str(CAMPAIGN), *options], timeout_s=250)
    assert done.stdout.startswith("{"), done.stderr
    report = json.loads(done.stdout)
    assert [fault for fault in report["faults"] if not fault["survived"]] == []
    assert report["tried"] == len(KINDS)
