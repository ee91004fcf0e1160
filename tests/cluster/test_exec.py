"""`hpcorch exec` in jobs of real daemons: requeued, preempted, near the time limit, in arrays, in recorded scripts.

The jobs are submitted by the first test, for all of them, and go on side by side.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster.conftest import AsAlice, project_folder, wait_until

pytestmark = pytest.mark.timeout(300)

# Saves, tells what it was given, and on SIGTERM says so and ends well. The second attempt ends by itself.
WORK = """
import os, signal, sys, time
from pathlib import Path

def told(number, frame):
    print("told", flush=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, told)
resume = os.environ["HPCORCH_RESUME"]
Path(os.environ["HPCORCH_CHECKPOINT_DIR"], "saved").touch()
print(os.environ["HPCORCH_ATTEMPT"], os.environ["HPCORCH_SEED"], Path(resume).name, flush=True)
time.sleep(1 if resume else 600)
"""
HEAD = "#!/bin/bash\n#SBATCH --output=out-%a.txt --open-mode=append --requeue --mem=50M\n"
JOBS = {
    "requeued": (HEAD + "hpcorch exec -- python3 work.py\n", ["sbatch"]),
    "preempted": (HEAD + "hpcorch exec -- python3 work.py\n", ["sbatch", "-p", "preempt", "-w", "n4", "-c", "8"]),
    "limited": (
        HEAD + "hpcorch exec --requeue --signal-delay 40 -- python3 work.py\necho next\n",
        ["sbatch", "--time=1"],
    ),
    "array": (
        HEAD + 'hpcorch exec --result r$SLURM_ARRAY_TASK_ID.json -- sh -c "echo $SLURM_ARRAY_TASK_ID >'
        ' r$SLURM_ARRAY_TASK_ID.json; exit $SLURM_ARRAY_TASK_ID"\n',
        ["sbatch", "--array=0,3"],
    ),
    "script": (
        HEAD + "hpcorch exec -- sh -c 'exit 3'\nhpcorch exec -- true & hpcorch exec -- true & wait\nexit 4\n",
        ["hpcorch", "sbatch"],
    ),
}


class Job:
    """A job in a project folder of its own."""

    def __init__(self, as_alice: AsAlice, folder: Path, script: str, submit: list[str]) -> None:
        self._as_alice = as_alice
        self._folder = folder
        as_alice.output(["mkdir", str(folder)])
        for name, text in (("work.py", WORK), ("job.sh", script)):
            as_alice.output(["sh", "-c", f"cat > {name} << 'END'\n{text}\nEND"], cwd=folder)
        done = as_alice([*submit, "--parsable", "job.sh"], cwd=folder)
        assert done.returncode == 0, done.stderr
        self.id = done.stdout.strip().split(";")[0]

    def output(self) -> list[str]:
        return [line for path in sorted(self._folder.glob("out-*.txt")) for line in path.read_text().splitlines()]

    def runs(self) -> list[dict]:
        """Its runs, as they are after asking Slurm."""
        listed = json.loads(self._as_alice(["hpcorch", "ls", "--json"], cwd=self._folder).stdout or "[]")
        shown = [
            self._as_alice(["hpcorch", "status", sweep["sweep"], "--refresh", "--json"], cwd=self._folder)
            for sweep in listed
        ]
        return [run for one in shown for run in json.loads(one.stdout)["runs"]]

    def becomes(self, states: list[str]) -> list[dict]:
        """Wait until its runs are in these states."""
        wait_until(lambda: sorted(run["state"] for run in self.runs()) == sorted(states), timeout_s=90)
        return self.runs()


@pytest.fixture(scope="module")
def jobs(lab):
    with project_folder(lab, "exec") as folder:
        as_alice = AsAlice(lab, folder)
        started = {name: Job(as_alice, folder / name, *job) for name, job in JOBS.items()}
        for name in ("requeued", "preempted"):
            wait_until(lambda name=name: started[name].output(), timeout_s=60)
        as_alice.output(["scontrol", "requeue", started["requeued"].id])
        as_alice.output(
            ["sbatch", "-p", "urgent", "-w", "n4", "-c", "8", "--mem=50M", "-o", "/dev/null", "--wrap", "sleep 3"]
        )
        yield started


@pytest.mark.parametrize(
    ("name", "first_end"), [("requeued", "REQUEUED"), ("preempted", "PREEMPTED"), ("limited", "REQUEUED")]
)
def test_a_command_goes_on_with_its_seed_and_checkpoints_when_its_job_starts_again(jobs, name, first_end):
    (run,) = jobs[name].becomes(["COMPLETED"])
    assert [attempt["state"] for attempt in run["attempts"]] == [first_end, "COMPLETED"]
    first, second = [line.split() for line in jobs[name].output() if line.startswith("0.s0.r")]
    assert first == ["0.s0.r0", str(run["seed"])]
    assert second == ["0.s0.r1", str(run["seed"]), "saved"]


def test_the_command_is_told_before_its_job_is_taken_away(jobs):
    jobs["preempted"].becomes(["COMPLETED"])
    assert "told" in jobs["preempted"].output()


def test_the_script_does_not_go_on_when_its_job_is_requeued_near_the_limit(jobs):
    jobs["limited"].becomes(["COMPLETED"])
    output = jobs["limited"].output()
    assert output.count("next") == 1  # at the end of the second attempt
    assert output[-1] == "next"


def test_each_element_of_an_array_is_a_run_with_its_own_end(jobs):
    runs = jobs["array"].becomes(["COMPLETED", "FAILED"])
    ends = {run["index"]: (run["job_id"], run["exit_code"], run["result"]) for run in runs}
    assert ends == {0: (f"{jobs['array'].id}_0", 0, 0), 3: (f"{jobs['array'].id}_3", 3, 3)}


def test_commands_of_a_recorded_script_are_steps_and_slurm_tells_the_end(jobs):
    (run,) = jobs["script"].becomes(["FAILED"])
    assert (run["job_id"], run["exit_code"]) == (jobs["script"].id, 4)
