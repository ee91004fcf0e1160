"""The guide's recipe for Lightning on a real Slurm: preempted, and with two processes, started in two ways."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster.conftest import AsAlice, wait_until
from tests.support.recipes import lightning_files

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

URGENT = "sbatch -p urgent -w n4 -c 8 --mem=50M -o /dev/null --wrap true"
ENVIRONMENT = "lightning.pytorch.plugins.environments.LightningEnvironment"
# Nodes of the lab do not resolve their names.
ALONE = "hydra.launcher.setup=['export MASTER_ADDR=127.0.0.1']"
FOUND = "import sys; from importlib.util import find_spec; sys.exit(find_spec('lightning') is None)"


@pytest.fixture
def launch(as_alice: AsAlice, workspace: Path):
    """A function that launches the program and returns at once."""
    if as_alice(["python", "-c", FOUND]).returncode != 0:
        pytest.skip("RECIPE NOT TESTED: the package lightning is not installed for the cluster's users")
    for name, text in lightning_files().items():
        as_alice.output(["mkdir", "-p", str((workspace / name).parent)])
        as_alice.output(["sh", "-c", 'printf %s "$1" > "$2"', "-", text, name])

    def launch(*overrides: str) -> None:
        always = ["+trainer.accelerator=cpu", "+trainer.logger=false", "hydra.launcher.detach=true"]
        program = ["python", "train.py", "-m", "hydra/launcher=hpcorch_slurm", "hydra.sweep.dir=sweep"]
        as_alice.output([*program, *always, *overrides])

    return launch


def completed(as_alice: AsAlice) -> list[dict]:
    """The runs, once they are over, which must be well."""
    over = as_alice(["hpcorch", "wait", "last"], timeout_s=300)
    assert over.returncode == 0, f"{over.stdout}{over.stderr}{as_alice(['hpcorch', 'logs', 'last/0']).stdout}"
    return json.loads(as_alice.output(["hpcorch", "status", "last", "--refresh", "--json"]))["runs"]


def test_a_preempted_run_of_lightning_ends_like_one_that_was_not(launch, as_alice, workspace):
    launch(
        "interrupted=no,preempted",
        "+nodes={no: n3, preempted: n4}",
        "+node='${nodes.${interrupted}}'",
        "hydra.launcher.nodelist=${node}",
        "hydra.launcher.partition=preempt",
        "hydra.launcher.cpus_per_task=8",
        "hydra.launcher.mem_gb=1.5",
    )
    wait_until((workspace / "sweep" / "1" / "checkpoints" / "last.ckpt").exists, timeout_s=180)
    as_alice.output(URGENT.split())
    undisturbed, preempted = completed(as_alice)
    assert [attempt["state"] for attempt in preempted["attempts"]] == ["PREEMPTED", "COMPLETED"]
    assert (undisturbed["result"].pop("resumed"), preempted["result"].pop("resumed")) == (None, "last.ckpt")
    assert preempted["result"] == undisturbed["result"]
    assert undisturbed["result"]["steps"] == 32


@pytest.mark.parametrize(
    "started",
    [
        pytest.param(["hydra.launcher.tasks_per_node=${trainer.devices}", ALONE], id="each-is-a-task"),
        pytest.param([f"+trainer.plugins=[{{_target_: {ENVIRONMENT}}}]"], id="both-in-one-task"),
    ],
)
def test_two_processes_of_lightning_train_together(launch, as_alice, started):
    launch("+trainer.devices=2", "hydra.launcher.mem_gb=3", *started)
    (run,) = completed(as_alice)
    assert (run["result"]["world"], run["result"]["steps"]) == (2, 16)
