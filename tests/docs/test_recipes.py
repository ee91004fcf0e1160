"""Recipes of the guide: they run as written, and what was interrupted ends like what was not.

Each needs packages that only the extra `recipes` installs, and is skipped where one of them is missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec

import pytest

from hpcorch import process
from tests.docs.pages import Project
from tests.support.recipes import RECIPES, lightning_files, transformers_files


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


def launched_and_retried(project: Project, files: Mapping[str, str], overrides: str) -> list[dict]:
    """The runs of a sweep of which some are interrupted, once these have been continued."""
    for name, text in files.items():
        project.write(name, text)
    always = "hydra/launcher=hpcorch_local interrupted=no,asked"
    project.run(f"python train.py -m {always} {overrides}", code=1)
    project.run("hpcorch retry last")
    return runs(project)


@pytest.mark.timeout(600)
def test_two_processes_of_lightning_end_alike_if_they_were_interrupted(checkout):
    needs("lightning")
    trainer = "+trainer.accelerator=cpu +trainer.devices=2 +trainer.logger=false"
    done = launched_and_retried(checkout, lightning_files(), f"seed=1 {trainer}")
    undisturbed, interrupted = (run["result"] for run in done)
    assert (undisturbed.pop("resumed"), interrupted.pop("resumed")) == (None, "last.ckpt")
    assert interrupted == undisturbed
    assert (undisturbed["world"], undisturbed["steps"]) == (2, 16)


@pytest.mark.timeout(600)
def test_the_trainer_of_transformers_goes_on_in_the_middle_of_an_epoch(checkout):
    needs("transformers", "accelerate")
    done = launched_and_retried(checkout, transformers_files(), "+seed=1 +arguments.disable_tqdm=true")
    undisturbed, interrupted = (run["result"] for run in done)
    assert (undisturbed.pop("resumed"), interrupted.pop("resumed")) == (None, "checkpoint-11")
    assert interrupted == undisturbed
    assert undisturbed["steps"] == 16


def test_hydra_zen_runs_its_program_and_sends_what_it_launches(checkout):
    needs("hydra_zen")
    checkout.write("zen_train.py", RECIPES.block("file: zen_train.py"))
    for command in RECIPES.commands("zen"):
        checkout.run(command)
    assert [run["result"] for run in runs(checkout)] == [
        {"value": pytest.approx(rate * 3), "resume": None} for rate in (0.1, 0.2)
    ]
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


def test_rootutils_and_dotenv_find_the_root_and_its_files(checkout):
    needs("rootutils", "dotenv")
    checkout.write("rooted/train.py", RECIPES.block("file: rooted/train.py"))
    checkout.write("rooted/scaling.py", "def scaled(value):\n    return 2 * value\n")
    checkout.write("rooted/__init__.py", "")
    checkout.write(".project-root", "")
    checkout.write(".env", "OWNER=alice\n")
    checkout.write("data/value.txt", "1.5")
    checkout.run("python rooted/train.py -m hydra/launcher=hpcorch_local +seed=1")
    assert [run["result"] for run in runs(checkout)] == [{"value": 3.0, "owner": "alice"}]
