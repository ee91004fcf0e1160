"""What the documentation says of checkpoints: its programs end alike, whether or not they were interrupted."""

from __future__ import annotations

import json

import pytest

from tests.docs.pages import GUIDE, Project

# What `hpcorch cancel --checkpoint` sends, at a step in the middle of the first attempt.
_ASKED = """
def end_here(step, run):
    import os, signal
    if step == 23 and run.attempt.endswith(".s0.r0"):
        os.kill(os.getpid(), signal.SIGUSR2)

"""


def interrupted(program: str) -> str:
    """The program, asked to save and end while it is at work."""
    (line,) = [line for line in program.splitlines() if line.strip() == "step += 1"]
    asking = f"{line}; end_here(step, run)"
    head, main, rest = program.partition("@hydra.main")
    return head + _ASKED + main + rest.replace(line, asking)


def results(project: Project) -> list[object]:
    runs = json.loads(project.run("hpcorch status last --json"))["runs"]
    return [run["result"] for run in runs]


def ends_alike_if_interrupted(project: Project, program: str, overrides: str) -> None:
    project.write("undisturbed.py", program)
    project.run(f"python undisturbed.py -m hydra/launcher=hpcorch_local {overrides} hydra.sweep.dir=a")
    expected = results(project)
    project.write("interrupted.py", interrupted(program))
    project.run(f"python interrupted.py -m hydra/launcher=hpcorch_local {overrides} hydra.sweep.dir=b", code=1)
    assert "CANCELLED" in project.run("hpcorch status last", code=1)
    project.run("hpcorch retry last")
    shown = project.run("hpcorch show last/0")
    assert "step 23" in shown
    assert results(project) == expected


def test_the_loop_runs_as_written(project):
    project.write("resumable.py", GUIDE.block("file: resumable.py"))
    for command in GUIDE.commands("resumable"):
        shown = project.run(command)
    assert "norm" in shown


def test_the_loop_ends_alike_if_it_was_interrupted(project):
    ends_alike_if_interrupted(project, GUIDE.block("file: resumable.py"), "+steps=50 +seed=1")


def test_the_torch_example_ends_alike_if_it_was_interrupted_in_an_epoch(project):
    pytest.importorskip("torch")
    ends_alike_if_interrupted(project, GUIDE.block("file: torch_example.py"), "+epochs=3 +seed=1")


def test_files_of_another_framework_are_saved_as_the_page_says(project):
    given = """
def load_model(path): return [path.read_text()]
def new_model(): return [""]
def train_one_step(model): model[0] += "x"
def save_model(model, path): path.write_text(model[0])
"""
    project.write("files.py", GUIDE.task("save_files", given=given))
    project.run("python files.py -m hydra/launcher=hpcorch_local hydra.sweep.dir=s")
    written = sorted((project.folder / "s" / ".hpcorch" / "checkpoints" / "0").glob("*.files/model"))
    assert [path.read_text() for path in written] == ["xx", "xxx"]
