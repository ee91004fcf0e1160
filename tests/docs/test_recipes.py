"""Recipes of the guide: they run as written, and what was interrupted ends like what was not.

Each needs packages that only the extra `recipes` installs, and is skipped where one of them is missing.
"""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from hpcorch import process
from tests.docs.pages import Project
from tests.support.recipes import RECIPES, RESUMED, steps_of


def needs(*packages: str) -> None:
    """Skip the test, and say which package it needs."""
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"RECIPE NOT TESTED: the package {package} is not installed")


@pytest.fixture
def checkout(project) -> Project:
    """The project in a git checkout, as people have it: what runs import late is in the snapshot."""
    process.run(["git", "init", "--quiet"], cwd=project.folder, timeout_s=60)
    project.write(".gitignore", "/multirun/\n/.hpcorch/\n/home/\n/.env\n")
    return project


def runs(project: Project, *, code: int = 0) -> list[dict]:
    return json.loads(project.run("hpcorch status last --json", code=code))["runs"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "more"),
    [("lightning", "+trainer.devices=2"), ("transformers", ""), ("hydra-zen", ""), ("rootutils", "")],
)
def test_a_run_that_was_asked_to_end_goes_on_and_ends_like_one_that_was_not(name, more, checkout):
    recipe = RESUMED[name]
    needs(*recipe.packages)
    for file, text in recipe.files.items():
        checkout.write(file, text)
    always = "hydra/launcher=hpcorch_local hydra.sweep.dir=sweep +interrupted=no,asked"
    checkout.run(f"python {recipe.words} {always} {more}", code=1)
    checkout.run("hpcorch retry last")
    undisturbed, interrupted = runs(checkout)
    assert interrupted["result"] == undisturbed["result"]
    assert steps_of(checkout.folder / "sweep" / "0") == [*range(1, 17)]
    assert steps_of(checkout.folder / "sweep" / "1") == [*range(1, 12), *range(recipe.goes_on_at, 17)]


def test_hydra_zen_runs_its_program_and_sends_what_it_launches(checkout):
    needs("hydra_zen")
    for file, text in RESUMED["hydra-zen"].files.items():
        checkout.write(file, text)
    for command in RECIPES.commands("zen"):
        checkout.run(command)
    assert "from a pickle" not in checkout.run("hpcorch audit last")
    checkout.write("zen_launch.py", RECIPES.block("file: zen_launch.py"))
    assert "[0.30000000000000004, 0.6000000000000001]" in checkout.run("python zen_launch.py")
    assert "from a pickle" in checkout.run("hpcorch audit last")


def test_optuna_chooses_by_results_and_forgives_as_many_failures_as_it_is_told(checkout):
    needs("optuna", "hydra_plugins.hydra_optuna_sweeper")
    checkout.write("conf/optuna.yaml", RECIPES.block("file: conf/optuna.yaml"))
    checkout.write("search.py", SEARCH)
    said = checkout.run("python search.py -m")
    done = runs(checkout, code=1)
    assert len(done) == 8
    failed = [run for run in done if run["state"] == "FAILED"]
    assert 0 < len(failed) < 4
    best = min((run for run in done if run not in failed), key=lambda run: run["result"])
    assert f"Best value: {best['result']}" in said
    refused = checkout.run("python search.py -m hydra.launcher.detach=true", code=1)
    assert "detach" in refused


SEARCH = """\
import hydra

@hydra.main(version_base="1.3", config_path="conf", config_name="optuna")
def main(cfg):
    if cfg.x > 0:
        raise ValueError("a trial that fails")
    return (cfg.x - 2) ** 2

if __name__ == "__main__":
    main()
"""
