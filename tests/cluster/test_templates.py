"""The templates in scripts/templates: each is a job of alice's, as it stands, next to a program that it calls.

They are submitted by the first test, for all of them, and go on side by side. All but the array are started again
once they have saved: the computation on several nodes is preempted, since there the workers are asked first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.conftest import AsAlice, Lab, project_folder, wait_until
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.timeout(400)

TEMPLATES = REPOSITORY / "scripts" / "templates"
ELSEWHERE = "OF_THE_SUBMITTER"
URGENT = "sbatch -p urgent -w n[3-4] -N 2 -c 8 --mem=50M -o /dev/null --wrap true"
# What PROGRAM tells in each job that is no element of an array.
TOLD = {"rate": None, "width": None, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}

# What the templates call. Its first attempt saves, and waits for what ends it; the next tells what it was given.
# An element of an array comes to its end at once.
PROGRAM = """
import argparse, json, os, time
from pathlib import Path

parser = argparse.ArgumentParser()
for name in ("seed", "checkpoints", "resume", "result", "rate", "width"):
    parser.add_argument(f"--{name}")
given = parser.parse_args()
if not given.resume:
    Path(given.checkpoints, "step-1").touch()
    print("saved", flush=True)
    if given.rate is None:
        time.sleep(600)
told = {"seed": int(given.seed), "resumed": Path(given.resume).name, "rate": given.rate, "width": given.width}
for name in ("OMP_NUM_THREADS", "PYTHONHASHSEED", "OF_THE_SUBMITTER"):
    told[name] = os.environ.get(name)
Path(given.result).write_text(json.dumps(told))
"""

# The same for all workers of a computation: they meet, and rank 0 saves and tells.
DISTRIBUTED = """
import argparse, json, time
from pathlib import Path
import torch
import torch.distributed as dist

parser = argparse.ArgumentParser()
for name in ("seed", "checkpoints", "resume", "result"):
    parser.add_argument(f"--{name}")
given = parser.parse_args()
dist.init_process_group("gloo")
met = torch.tensor([1, int(given.seed) % 1000])
dist.all_reduce(met)
if dist.get_rank() == 0 and not given.resume:
    Path(given.checkpoints, "step-1").touch()
    print("saved", flush=True)
if not given.resume:
    time.sleep(600)
if dist.get_rank() == 0:
    told = {"met": met.tolist(), "ranks": dist.get_world_size(), "resumed": Path(given.resume).name}
    Path(given.result).write_text(json.dumps(told))
dist.destroy_process_group()
"""

# Where there is no Apptainer (no release of Debian that the lab is made of has it): an `apptainer` that knows the
# flags of the template alone, and executes the command with the variables that it was given and no others.
STAND_IN = """#!/usr/bin/env python3
import os, sys

words = sys.argv[1:]
assert words.pop(0) == "exec", sys.argv
flags, variables, binds = set(), {"PATH": os.environ["PATH"]}, []
while words[0].startswith("--"):
    flag = words.pop(0)
    if flag == "--env":
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    elif flag == "--bind":
        binds.append(words.pop(0))
    elif flag == "--pwd":
        os.chdir(words.pop(0))
    else:
        flags.add(flag)
assert flags == {"--nv", "--cleanenv", "--no-home"}, flags
assert os.getcwd() in binds and variables["HPCORCH_CHECKPOINT_DIR"] in binds, binds
assert os.path.exists(words.pop(0)), "no image"
os.execvpe(words[0], words, variables)
"""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A template's job, in a project folder of its own."""

    as_alice: AsAlice
    folder: Path
    id: str

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.out")))

    def once_saved(self, command: str) -> None:
        """Do this as soon as its first attempt has saved."""
        wait_until(lambda: "saved" in self.log(), timeout_s=90)
        self.as_alice.output(command.split())

    def completed(self) -> list[dict]:
        """Its runs, once they are over, which must be well."""
        (sweep,) = json.loads(self.as_alice.output(["hpcorch", "ls", "--json"], cwd=self.folder))
        over = self.as_alice(["hpcorch", "wait", sweep["sweep"]], cwd=self.folder, timeout_s=180)
        assert over.returncode == 0, f"{over.stdout}{over.stderr}\n{self.log()}"
        shown = self.as_alice.output(["hpcorch", "status", sweep["sweep"], "--refresh", "--json"], cwd=self.folder)
        return json.loads(shown)["runs"]


@dataclass(frozen=True, kw_only=True)
class Projects:
    """Where the jobs are submitted, each in a folder named for its template."""

    as_alice: AsAlice
    folder: Path

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        self.as_alice.output(["mkdir", "-p", str(path.parent)])
        self.as_alice.output(["sh", "-c", 'printf %s "$1" > "$2"', "-", text, str(path)])

    def submit(
        self, template: str, *command: str, program: str = PROGRAM, env: Mapping[str, str] | None = None
    ) -> Job:
        """Submit a template as it stands, next to the program that it calls."""
        self.write(f"{template}/train.py", program)
        self.write(f"{template}/{template}.sbatch", (TEMPLATES / f"{template}.sbatch").read_text())
        folder = self.folder / template
        done = self.as_alice(
            [*command, "--parsable", f"{template}.sbatch"], cwd=folder, env={ELSEWHERE: "seen", **(env or {})}
        )
        assert done.returncode == 0, done.stderr
        return Job(as_alice=self.as_alice, folder=folder, id=done.stdout.strip())

    def apptainer(self, lab: Lab) -> dict[str, str]:
        """Make an image, which may be a folder, and see to an apptainer: the real one, or the stand-in."""
        for place in ("usr", "bin", "lib", "lib64", "proc", "sys", "dev", "tmp", "etc", "var/tmp"):
            self.as_alice.output(["mkdir", "-p", str(self.folder / "apptainer" / "image.sif" / place)])
        if self.as_alice(["sh", "-c", "command -v apptainer"]).returncode == 0:
            return {"APPTAINER_BIND": "/usr,/bin,/lib,/lib64"}  # the image is empty: the machine's own Python
        self.write("apptainer/programs/apptainer", STAND_IN)
        programs = self.folder / "apptainer" / "programs"
        self.as_alice.output(["chmod", "755", str(programs / "apptainer")])
        return {"PATH": f"{programs}:{lab.venv}/bin:/usr/bin:/bin"}


@pytest.fixture(scope="module")
def jobs(lab):
    """The jobs by template. Those of which the test is that they go on have been requeued."""
    with project_folder(lab, "templates") as folder:
        projects = Projects(as_alice=AsAlice(lab, folder), folder=folder)
        started = {}
        if projects.as_alice(["python3", "-c", "import torch"]).returncode == 0:
            workers = {"WORKERS": "2", "GLOO_SOCKET_IFNAME": "lo"}
            there = ["sbatch", "-p", "preempt", "-w", "n[3-4]", "-c", "8"]
            started["torchrun"] = projects.submit("torchrun", *there, program=DISTRIBUTED, env=workers)
        started |= {
            "plain": projects.submit("plain", "hpcorch", "sbatch"),
            "apptainer": projects.submit("apptainer", "sbatch", env=projects.apptainer(lab)),
            "array": projects.submit("array", "hpcorch", "sbatch"),
        }
        for name in ("plain", "apptainer"):
            started[name].once_saved(f"scontrol requeue {started[name].id}")
        if "torchrun" in started:
            started["torchrun"].once_saved(URGENT)
        yield started


def test_a_command_goes_on_from_its_checkpoint_with_its_seed(jobs):
    (run,) = jobs["plain"].completed()
    assert [attempt["state"] for attempt in run["attempts"]] == ["REQUEUED", "COMPLETED"]
    assert run["result"] == {**TOLD, "seed": run["seed"], "resumed": "step-1", ELSEWHERE: "seen"}


def test_an_array_is_a_grid_of_runs(jobs):
    runs = jobs["array"].completed()
    grid = [(run["result"]["width"], run["result"]["rate"]) for run in runs]
    assert grid == [(width, rate) for width in ("64", "128") for rate in ("0.1", "0.05", "0.01")]
    assert [run["result"]["seed"] for run in runs] == [run["seed"] for run in runs]
    assert len({run["seed"] for run in runs}) == len(runs)


def test_a_command_in_an_image_knows_what_it_is_given_and_nothing_else(jobs):
    (run,) = jobs["apptainer"].completed()
    assert run["result"] == {**TOLD, "seed": run["seed"], "resumed": "step-1", ELSEWHERE: None}


def test_workers_on_several_nodes_meet_and_go_on_after_a_preemption(jobs):
    if "torchrun" not in jobs:
        pytest.skip("torch is not installed where the cluster's users have hpcorch")
    (run,) = jobs["torchrun"].completed()
    assert [attempt["state"] for attempt in run["attempts"]] == ["PREEMPTED", "COMPLETED"]
    assert run["result"] == {"met": [4, 4 * (run["seed"] % 1000)], "ranks": 4, "resumed": "step-1"}
