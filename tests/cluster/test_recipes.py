"""The guide's recipes on a real Slurm: preempted; and Lightning with two processes, started in two ways."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster.conftest import AsAlice, wait_until
from tests.support.recipes import RESUMED, Recipe, steps_of

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

URGENT = "sbatch -p urgent -w n4 -c 8 --mem=50M -o /dev/null --wrap true"
ON_N4 = "partition=preempt nodelist=n4 cpus_per_task=8 mem_gb=1.5"
ENVIRONMENT = "lightning.pytorch.plugins.environments.LightningEnvironment"
# Nodes of the lab do not resolve their names.
ALONE = "hydra.launcher.setup=['export MASTER_ADDR=127.0.0.1']"
MISSING = (
    "import sys; from importlib.util import find_spec; print(*(one for one in sys.argv[1:] if not find_spec(one)))"
)


@pytest.fixture
def launch(as_alice: AsAlice, workspace: Path):
    """A function that launches the program of a recipe; the runs' records, once all have completed."""

    def launch(recipe: Recipe, *overrides: str) -> list[dict]:
        if missing := as_alice.output(["python", "-c", MISSING, *recipe.packages]):
            pytest.skip(f"RECIPE NOT TESTED: not installed for the cluster's users: {missing}")
        for name, text in recipe.files.items():
            (workspace / name).parent.mkdir(exist_ok=True)
            (workspace / name).write_text(text)
        done = as_alice(["python", *recipe.words.split(), *overrides], timeout_s=400)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{as_alice(['hpcorch', 'logs', 'last/0']).stdout}"
        return json.loads(as_alice.output(["hpcorch", "status", "last", "--refresh", "--json"]))["runs"]

    return launch


@pytest.mark.parametrize("name", RESUMED)
def test_a_preempted_run_goes_on_and_ends_like_one_that_was_left_alone(name, launch, as_alice, workspace):
    recipe = RESUMED[name]
    undisturbed = launch(recipe, "hydra/launcher=hpcorch_local", "hydra.sweep.dir=undisturbed")
    keys = [f"hydra.launcher.{key}" for key in ON_N4.split()]
    always = ["hydra/launcher=hpcorch_slurm", "hydra.sweep.dir=preempted", *keys]
    with ThreadPoolExecutor() as pool:
        launched = pool.submit(launch, recipe, *always, "+interrupted=preempted")
        wait_until(lambda: launched.done() or (workspace / "preempted" / "interrupted").exists(), timeout_s=300)
        as_alice.output(URGENT.split())
        preempted = launched.result()
    assert [attempt["state"] for attempt in preempted[0]["attempts"]] == ["PREEMPTED", "COMPLETED"]
    assert [run["result"] for run in preempted] == [run["result"] for run in undisturbed]
    whole = steps_of(workspace / "undisturbed" / "0")
    assert whole == [*range(1, len(whole) + 1)]
    assert steps_of(workspace / "preempted" / "0") == [*whole[:11], *whole[recipe.goes_on_at - 1 :]]


@pytest.mark.parametrize(
    "started",
    [
        pytest.param(["hydra.launcher.tasks_per_node=${trainer.devices}", ALONE], id="each-is-a-task"),
        pytest.param([f"+trainer.plugins=[{{_target_: {ENVIRONMENT}}}]"], id="both-in-one-task"),
    ],
)
def test_two_processes_of_lightning_train_together(launch, workspace, started):
    two = ["+trainer.devices=2", "hydra.launcher.mem_gb=3", *started]
    (run,) = launch(RESUMED["lightning"], "hydra/launcher=hpcorch_slurm", "hydra.sweep.dir=two", *two)
    assert run["result"]["world"] == 2
    assert steps_of(workspace / "two" / "0") == [*range(1, 17)]
