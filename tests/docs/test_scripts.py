"""What the documentation says of scripts and commands: they run as written, on a pretended Slurm."""

from __future__ import annotations

import json

import pytest

from hpcorch.cli.commands.exec import command
from tests.docs.pages import GUIDE, REPOSITORY, Page, Project

SCRIPTS = Page("docs/guide/scripts.md")
TRAIN = """\
import json, os, sys
print("training")
if "--out" in sys.argv:
    values = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    told = {"rate": float(values["--rate"]), "seed": int(os.environ["HPCORCH_SEED"])}
    open(values["--out"], "w").write(json.dumps(told))
"""


@pytest.fixture
def on_a_cluster(project) -> Project:
    """The project, a program that scripts start, and Slurm's commands."""
    project.environ |= {
        "PATH": f"{REPOSITORY}/tests/support/fake_slurm:{project.environ['PATH']}",
        "FAKE_SLURM_DIR": str(project.folder / "slurm"),
        "HPCORCH_STATE": str(project.folder / "state"),
    }
    project.write("train.py", TRAIN)
    project.write("train.sh", GUIDE.block("file: train.sh"))
    return project


def test_a_script_is_submitted_and_asked_for_as_written(on_a_cluster):
    for one in GUIDE.commands("script"):
        on_a_cluster.run(one)
    runs = json.loads(on_a_cluster.run("hpcorch status last --json"))["runs"]
    assert [run["result"] for run in runs] == [
        {"rate": rate, "seed": run["seed"]} for rate, run in zip((0.1, 0.05, 0.01), runs, strict=True)
    ]


def test_scripts_are_submitted_from_python_as_written(on_a_cluster):
    on_a_cluster.write("train.sh", "#!/bin/bash\npython3 train.py --rate $1\n")
    on_a_cluster.write("submitting.py", GUIDE.block("file: submitting.py"))
    told = [line.split() for line in on_a_cluster.run("python submitting.py").splitlines()]
    assert [rate for rate, _, _ in told] == ["0.1", "0.01"]
    for _, job, sweep in told:
        on_a_cluster.run(f"hpcorch wait {sweep}")
        (run,) = json.loads(on_a_cluster.run(f"hpcorch status {sweep} --json"))["runs"]
        assert run["job_id"] == job


def test_every_flag_of_exec_is_documented():
    flags = {word for option in command.params for word in option.opts if word.startswith("--")}
    assert [flag for flag in flags if f"`{flag}" not in SCRIPTS.text] == []


def test_every_template_is_documented():
    templates = {path.name for path in (REPOSITORY / "scripts" / "templates").iterdir()}
    assert {name for name in templates if f"| [{name}](" in SCRIPTS.text} == templates
