"""Packed arrays on real daemons: their tasks are preempted, requeued, cancelled and killed, and no run is lost.

What takes long is begun by the first test that needs it, for all of them, and goes on side by side.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import AsAlice, project_folder, wait_until

pytestmark = pytest.mark.timeout(600)  # what the tests share takes minutes on a busy machine

APP = """
import os, random, threading, time
import hydra, hpcorch, psutil

if "WITH_THREAD" in os.environ:
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    run, above = hpcorch.current_run(), psutil.Process().parents()
    ours = [one.pid for one in above if any(word.startswith("hpcorch.") for word in one.cmdline())]
    note(cfg, f"begin {os.getpid()} {' '.join(map(str, ours))}")
    state, first = {"total": 0}, 1
    if found := run.restore():
        state, first = found.state, found.step + 1
    for step in range(first, cfg.steps + 1):
        state["total"] += random.randrange(1000)
        time.sleep(0.1)
        run.checkpoint(step, lambda: state, every_steps=10)
    note(cfg, "end")
    return state["total"]

def note(cfg, words):
    with open(f"../{os.environ['NAME']}-{cfg.x}", "a") as file:
        file.write(f"{words}\\n")

main()
"""
KILLS, RUNS, STEPS, TASKS = (100, 400, 30, 16) if "HPCORCH_EXAMPLES" in os.environ else (6, 40, 4, 4)
SEED = "hydra.launcher.seed=7"  # of sweeps whose results are compared


class Sweep:
    """A detached sweep, and what the ledger says of it after asking Slurm and doing what is to be done."""

    def __init__(self, as_alice: AsAlice, folder: Path, name: str, *arguments: str, **env: str) -> None:
        self._as_alice = as_alice
        self._folder = folder
        self._name = name
        own = [f"hydra.sweep.dir=../{name}", "hydra.launcher.detach=true"]
        command = ["python", "app.py", "-m", "hydra/launcher=hpcorch_slurm", *own, *arguments]
        left = as_alice(command, cwd=folder / "project", env={"NAME": name, **env})
        assert left.returncode == 0, left.stderr
        self.id = self._show("last")["sweep"]

    @property
    def runs(self) -> list[dict[str, Any]]:
        return self._show(self.id, "--refresh")["runs"]  # type: ignore[no-any-return]

    @property
    def array(self) -> str:
        """The job of its last submission."""
        return max((str(run["job_id"]).partition("_")[0] for run in self._show(self.id)["runs"]), key=int)

    def states(self) -> list[str]:
        return [run["state"] for run in self.runs]

    def results(self) -> list[Any]:
        return [run["result"] for run in self.runs]

    def in_flight(self) -> dict[int, list[int]]:
        """Run -> the process that executes it, then its fork server, if there is one, and its task."""
        found = {}
        for path in self._folder.glob(f"{self._name}-*"):
            lines = path.read_text().splitlines()
            if lines and lines[-1].startswith("begin"):
                found[int(path.name.rpartition("-")[2])] = [int(word) for word in lines[-1].split()[1:]]
        return found

    def ended(self) -> int:
        return sum("end" in path.read_text() for path in self._folder.glob(f"{self._name}-*"))

    def is_completed(self) -> bool:
        return set(self.states()) == {"COMPLETED"}

    def log(self) -> str:
        return "".join(path.read_text() for path in (self._folder / self._name / ".hpcorch" / "logs").iterdir())

    def _show(self, *words: str) -> dict[str, Any]:
        done = self._as_alice(["hpcorch", "status", *words, "--json", "--limit", "0"], cwd=self._folder / "project")
        return json.loads(done.stdout)  # type: ignore[no-any-return]


def on(node: int, partition: str = "normal") -> list[str]:
    """Nodes 3 and 4 are for what is preempted: an urgent job waits for a whole node."""
    return [f"hydra.launcher.partition={partition}", f"+hydra.launcher.additional_parameters.nodelist=n{node}"]


def grid(runs: int, steps: int, of_a_task: int) -> list[str]:
    return [f"+x=range({runs})", f"+steps={steps}", f"hydra.launcher.runs_per_task={of_a_task}"]


def prepared(folder: Path, as_alice: AsAlice) -> Path:
    as_alice.output(["mkdir", "project"])  # whose files are code: the runs write elsewhere
    (folder / "project" / "app.py").write_text(APP)
    return folder


@pytest.fixture
def launch(as_alice, workspace):
    prepared(workspace, as_alice)
    return lambda name, *arguments, **env: Sweep(as_alice, workspace, name, *arguments, **env)


@dataclass(frozen=True, kw_only=True)
class Disturbed:
    """Sweeps of one configuration, of which only the first was left alone; and one that could not begin."""

    quiet: Sweep
    back: Sweep
    gone: Sweep
    near_limit: Sweep
    broken: Sweep


@pytest.fixture(scope="module")
def disturbed(lab) -> Iterator[Disturbed]:
    with project_folder(lab, "packed") as folder:
        yield _disturb(AsAlice(lab, folder), folder)


def _disturb(as_alice: AsAlice, folder: Path) -> Disturbed:
    prepared(folder, as_alice)
    same = [*grid(6, 100, 3), SEED]  # the second of three is preempted, of which Slurm thinks for seconds
    # Slurm looks at limits every 30 s, and warns as much early: here from second 10 on.
    limit = ["timeout_min=2", "signal_delay_s=80", "max_num_timeout=3", "parallel_per_task=2"]
    sweeps = Disturbed(
        gone=Sweep(as_alice, folder, "gone", *same, *on(4, "cancelp")),
        back=Sweep(as_alice, folder, "back", *same, *on(3, "preempt")),
        broken=Sweep(as_alice, folder, "broken", *grid(4, 1, 2), "hydra.launcher.setup=[exit 9]", *on(1)),
        quiet=Sweep(as_alice, folder, "quiet", *same, *on(1)),
        near_limit=Sweep(
            as_alice, folder, "limit", *grid(2, 500, 2), *(f"hydra.launcher.{key}" for key in limit), *on(1)
        ),
    )
    for sweep, node in ((sweeps.gone, 4), (sweeps.back, 3)):
        wait_until(lambda sweep=sweep: sweep.ended() and len(sweep.in_flight()) == 2, 120)  # type: ignore[misc]
        urgent = ["-p", "urgent", "-w", f"n{node}", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1"]
        as_alice.output(["sbatch", *urgent])
    return sweeps


def test_no_kill_of_any_process_loses_a_run_or_completes_one_twice(launch, lab, disturbed):
    sweep = launch("killed", *grid(RUNS, STEPS, RUNS // TASKS), "hydra.launcher.max_retries=100", *on(1))
    draw, kills = random.Random(1), 0
    while kills < KILLS and sweep.ended() < RUNS:
        if flying := sweep.in_flight():
            victim = draw.choice(flying[draw.choice(sorted(flying))])
            kills += lab.root(["kill", "-9", str(victim)]).returncode == 0
        time.sleep(draw.random())
    wait_until(sweep.is_completed, 400, interval_s=1)
    of_runs = [[attempt["state"] for attempt in run["attempts"]] for run in sweep.runs]
    assert all(states == ["FAILED"] * (len(states) - 1) + ["COMPLETED"] for states in of_runs)
    # A task, or a server, takes what it executes with it: here one run each.
    assert sum(len(states) - 1 for states in of_runs) <= kills


def test_a_cancelled_element_is_missed_by_its_run_in_flight_alone(launch, as_alice):
    sweep = launch("one", *grid(6, 20, 3), *on(1))
    wait_until(lambda: len(sweep.in_flight()) == 2)
    as_alice.output(["scancel", f"{sweep.array}_1"])
    wait_until(lambda: set(sweep.states()) <= {"COMPLETED", "CANCELLED"})
    assert Counter(sweep.states()) == {"COMPLETED": 5, "CANCELLED": 1}
    cancelled = next(run for run in sweep.runs if run["state"] == "CANCELLED")
    assert cancelled["job_id"] == f"{sweep.array}_1"
    assert cancelled["reason"].startswith("cancelled by alice")


def test_of_a_cancelled_array_no_run_is_submitted_again(launch, as_alice):
    sweep = launch("all", *grid(6, 200, 3), "hydra.launcher.cpus_per_task=8", *on(2))
    wait_until(sweep.in_flight, 90)
    as_alice.output(["scancel", sweep.array])
    wait_until(lambda: set(sweep.states()) == {"CANCELLED"}, 90, interval_s=0.5)
    assert Counter(bool(run["node"]) for run in sweep.runs) == {False: 5, True: 1}


def test_an_element_that_is_requeued_by_hand_goes_on_with_what_it_had_in_flight(launch, as_alice):
    sweep = launch("requeued", *grid(4, 30, 2), *on(1))
    wait_until(lambda: len(sweep.in_flight()) == 2)
    (first, _) = sorted(sweep.in_flight())
    as_alice.output(["scontrol", "requeue", f"{sweep.array}_0"])
    wait_until(lambda: sweep.runs[first]["state"] == "PENDING")
    wait_until(sweep.is_completed)
    attempts = [[attempt["state"] for attempt in run["attempts"]] for run in sweep.runs]
    assert attempts[first] == ["REQUEUED", "COMPLETED"]
    assert [len(states) for states in attempts].count(1) == 3
    as_alice.output(["scontrol", "requeue", f"{sweep.array}_0"])  # there is nothing left to do
    state = ["squeue", "-h", "-t", "all", "-j", f"{sweep.array}_0", "-o", "%T %r"]
    wait_until(lambda: as_alice.output(state).startswith("COMPLETED"))
    assert sweep.is_completed()


def test_a_program_that_cannot_be_forked_is_started_for_each_run(launch):
    sweep = launch("thread", *grid(4, 1, 4), "hydra.launcher.parallel_per_task=2", *on(1), WITH_THREAD="1")
    wait_until(sweep.is_completed)
    assert sweep.log().count("not forked") == 1


def test_preempted_tasks_go_on_with_their_runs_in_flight(disturbed):
    wait_until(disturbed.quiet.is_completed)
    wait_until(disturbed.back.is_completed, 120)
    assert disturbed.back.results() == disturbed.quiet.results()
    attempts = [[attempt["state"] for attempt in run["attempts"]] for run in disturbed.back.runs]
    assert Counter(map(tuple, attempts)) == {("COMPLETED",): 4, ("PREEMPTED", "COMPLETED"): 2}


def test_runs_near_the_time_limit_of_their_task_go_on_when_it_starts_again(disturbed):
    wait_until(disturbed.near_limit.is_completed, 180)
    attempts = [[attempt["signal"] for attempt in run["attempts"]] for run in disturbed.near_limit.runs]
    assert all(len(signals) > 1 and set(signals[:-1]) == {"SIGUSR1"} for signals in attempts)


def test_what_is_left_over_of_an_array_that_is_preempted_for_good_is_submitted_again(disturbed):
    wait_until(disturbed.gone.is_completed, 240, interval_s=1)
    assert disturbed.gone.results() == disturbed.quiet.results()
    attempts = [[attempt["state"] for attempt in run["attempts"]] for run in disturbed.gone.runs]
    assert Counter(map(tuple, attempts)) == {("COMPLETED",): 4, ("PREEMPTED", "COMPLETED"): 2}


def test_runs_whose_tasks_cannot_start_fail_with_the_reason(disturbed):
    wait_until(lambda: set(disturbed.broken.states()) == {"FAILED"}, 180, interval_s=1)
    assert {run["exit_code"] for run in disturbed.broken.runs} == {9}
