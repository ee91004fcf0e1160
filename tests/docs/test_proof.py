"""What the documentation says of frozen code and of proofs: its commands run, and say what it promises."""

from __future__ import annotations

import json

import pytest

from hpcorch.model.keys.kinds import USUAL_POLICIES
from tests.docs.pages import GUIDE, Page, Project

DATA = "data/train.csv"


@pytest.fixture
def checkout(project) -> Project:
    """The example project in git, with what the documentation has git ignore."""
    project.write(".gitignore", GUIDE.block("file: .gitignore"))
    project.run("git init --quiet .")
    commit(project)
    return project


def commit(project: Project) -> None:
    project.run("git add --all .")
    project.run("git -c user.name=test -c user.email=test@localhost commit --quiet -m example")


def test_a_sweep_leaves_nothing_for_git_but_the_site_profile(checkout):
    checkout.run(GUIDE.commands("local")[0])
    checkout.write(".hpcorch/site.yaml", GUIDE.block("file: .hpcorch/site.yaml"))
    assert checkout.run("git status --porcelain --untracked-files=all").split() == ["??", ".hpcorch/site.yaml"]


def test_needed_takes_over_what_has_completed_and_executes_the_rest(checkout):
    checkout.run(f"{GUIDE.commands('local')[0]} hydra.sweep.dir=multirun/first")
    (command,) = GUIDE.commands("needed")
    checkout.run(command)
    runs = json.loads(checkout.run("hpcorch status last --json"))["runs"]
    executed = [run["params"]["model.lr"] for run in runs if run["node"] is not None]
    assert executed == [0.2, 0.2]
    assert all(run["state"] == "COMPLETED" for run in runs)


def test_a_result_is_proven_later_as_written(checkout):
    said = {}
    for line in GUIDE.commands("proof"):
        command, _, file = line.partition(" >> ")
        said[command] = checkout.run(command, code=int(command.startswith("hpcorch diff")))
        if file:
            checkout.write(file, said[command])
    assert ["model.lr", "0.05", "0.1"] in [line.split() for line in said["hpcorch diff last/0 last/1"].splitlines()]
    assert "identical" in said["hpcorch reproduce last/1 again"]
    assert "1 anchor" in said["hpcorch audit --all --against anchors.txt"]
    assert "Nothing was changed or is missing" in (checkout.folder / "appendix.md").read_text()
    assert (checkout.folder / "tables" / "metrics.csv").exists()


def test_a_bundle_is_all_that_a_repetition_needs(checkout, tmp_path_factory):
    checkout.run(GUIDE.commands("proof")[0])
    checkout.run("hpcorch export bundle last reviewed")
    elsewhere = Project(tmp_path_factory.mktemp("elsewhere"))
    (checkout.folder / "reviewed").rename(elsewhere.folder / "reviewed")
    assert "identical" in elsewhere.run("hpcorch reproduce last/1 again --bundle reviewed --trust-code")


def test_an_input_is_on_record(checkout):
    checkout.write(DATA, "1\n2\n")
    checkout.write("counting.py", GUIDE.task("input"))
    checkout.run("python counting.py -m hydra/launcher=hpcorch_local hydra.sweep.dir=s")
    checkout.run("hpcorch audit last --report report.md")
    assert f"{DATA}` (1 file, 4 bytes)" in (checkout.folder / "report.md").read_text()


def test_the_policies_of_drift_are_those_that_apply():
    rows = [line.split("|")[1:3] for line in Page("docs/guide/proof.md").text.splitlines() if "` | `" in line]
    assert {aspect.strip(" `"): policy.strip(" `") for aspect, policy in rows} == USUAL_POLICIES
