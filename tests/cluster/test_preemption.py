"""The short form of scripts/bench/preemptions.py: interrupted runs end as if they had never been touched."""

from __future__ import annotations

import json
import sys

import pytest

from hpcorch import process
from tests.support.paths import REPOSITORY

TRIAL = REPOSITORY / "scripts" / "bench" / "preemptions.py"
NOT_INSTALLED = 77
TIMEOUT_S = 600  # many times what it takes on an idle machine


def trial(lab, *options):
    """What the trial reports of runs on this cluster."""
    where = ["--lab", str(lab.work.parent), "--release", lab.release, "--venv", str(lab.venv)]
    done = process.run([sys.executable, str(TRIAL), "--short", "--json", *where, *options], timeout_s=TIMEOUT_S)
    if done.returncode == NOT_INSTALLED:
        pytest.skip(done.stderr.strip())
    assert done.stdout.startswith("{"), done.stderr
    return json.loads(done.stdout)


@pytest.mark.long
@pytest.mark.timeout(TIMEOUT_S + 30)
def test_preempted_runs_of_the_example_end_bit_identical(lab):
    report = trial(lab)
    assert report["violations"] == []
    assert sum(report["interruptions"].values()) >= 12
    assert report["identical"] == sum(report["interruptions"].values())


@pytest.mark.long
@pytest.mark.timeout(TIMEOUT_S + 30)
def test_each_rank_of_a_preempted_run_goes_on_from_its_own_state(lab):
    report = trial(lab, "--app", "ranks", "--interruptions", "4")
    assert report["violations"] == []
    assert report["identical"] >= 4


@pytest.mark.long
@pytest.mark.timeout(TIMEOUT_S + 30)
def test_pytorch_goes_on_in_the_middle_of_an_epoch(lab):
    report = trial(lab, "--app", "torch", "--interruptions", "6")
    assert report["violations"] == []
    assert report["identical"] >= 6
