"""The client over pyslurm on real daemons, where a pyslurm for this release is installed, and the way round it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]
_SUITE = (
    "__init__.py",
    "cluster/__init__.py",
    "cluster/real_pyslurm.py",
    "support/__init__.py",
    "support/conformance/__init__.py",
    "support/conformance/pyslurm_client.py",
    "support/conformance/slurm_client.py",
    "support/fake_pyslurm/pyslurm.py",
    "support/tuning.py",
    "support/waiting.py",
)

STATE = """
from hpcorch.slurm.choose import pyslurm_state, slurm_client
print(pyslurm_state(slurm_client().config().version))
"""

ASK = """
import logging, pathlib, sys
from hpcorch import tunables
from hpcorch.slurm.choose import slurm_client
logging.basicConfig(level=logging.INFO)
client = slurm_client()
job = client.submit(pathlib.Path("job.sh")).job_id
assert all([row.index for row in client.queue([job])] == [0, 1] for _ in range(tunables.PYSLURM_FROM_QUERIES + 2))
client.cancel([job])
"""

WITHOUT_CONFIGURATION = """
import logging, os
from hpcorch import tunables
from hpcorch.slurm.pyslurm.client import PyslurmClient
logging.basicConfig(level=logging.INFO)
tunables.PYSLURM_FROM_QUERIES = 0
client = PyslurmClient()
client.config()
os.environ["SLURM_CONF"] = "/nonexistent"
assert client.queue(["999999"]) == []
"""


@pytest.fixture
def fitting(as_alice, lab) -> None:
    """Skip unless the cluster's users have a pyslurm that is made for its Slurm."""
    state = as_alice.output(["python", "-c", STATE])
    if state == "None":
        pytest.skip(
            f"NO PYSLURM: none is installed in {lab.venv}. It is built against Slurm {lab.release} from the tag of"
            " its repository whose version begins with that release; 26.05 has none. PyPI has it for 25.11 alone."
        )
    if "suits" not in state:
        pytest.skip(f"NO PYSLURM: {state}")


@pytest.mark.usefixtures("fitting")
def test_pyslurm_keeps_the_promises_of_its_fake(as_alice, workspace):
    suite = workspace / "suite" / "tests"
    for name in _SUITE:
        (suite / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_TESTS / name, suite / name)
    command = ["python", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/cluster/real_pyslurm.py"]
    variables = {"PYTHONPATH": str(suite.parent), "CONFORMANCE_FOLDER": str(workspace)}
    done = as_alice(command, cwd=suite.parent, env=variables, timeout_s=280)
    assert done.returncode == 0, done.stdout


@pytest.mark.usefixtures("fitting")
def test_without_a_configuration_pyslurm_ends_only_its_trial(as_alice, workspace):
    done = as_alice(["python", "-c", WITHOUT_CONFIGURATION])
    assert done.returncode == 0, done.stderr
    assert "squeue is used instead of pyslurm: a trial of it failed" in done.stderr


def test_a_pyslurm_for_another_release_is_passed_over(as_alice, workspace):
    other = workspace / "other"
    (other / "pyslurm-17.11.0.11.dist-info").mkdir(parents=True)
    (other / "pyslurm-17.11.0.11.dist-info" / "METADATA").write_text("Name: pyslurm\nVersion: 17.11.0.11\n")
    (other / "pyslurm.py").write_text("raise SystemExit('imported')\n")
    (workspace / "job.sh").write_text("#!/bin/bash\n#SBATCH --array=0-1 --hold\ntrue\n")
    done = as_alice(["python", "-c", ASK], env={"PYTHONPATH": str(other)})
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "pyslurm" in line)
    assert "squeue is used instead of pyslurm: 17.11.0.11 is made for another release" in line
