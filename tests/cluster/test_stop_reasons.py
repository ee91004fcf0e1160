"""Why runs stopped, told from what real daemons do: preemption in both modes, cancels, memory, time, signals.

What takes long is begun by the first test that needs it, for all of them, and goes on side by side.
The cgroup plugin's OUT_OF_MEMORY needs cgroups of the lab's own, which a container does not give: of memory only
the shape that OverMemoryKill makes is here.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from uuid import uuid4

import pytest

from tests.cluster.conftest import AsAlice, project_folder, wait_until

pytestmark = pytest.mark.timeout(600)  # what the tests share takes minutes on a busy machine

APP = """
import os, signal, sys, time
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    if cfg.do == "eat":
        eaten = bytearray(700 << 20)
    elif cfg.do.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[cfg.do])
    elif "SLURM_RESTART_COUNT" in os.environ:
        return "again"
    elif cfg.do == "own":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        open(f"own-{os.environ['SLURM_PROCID']}", "w").close()
    try:
        time.sleep(600)
    finally:
        if cfg.do == "save":
            time.sleep(600)

main()
"""
SCRIPT = """#!/bin/bash
[ -z "$SLURM_RESTART_COUNT" ] || exit 0
srun bash -c 'trap "exit 3" TERM; touch "ready-$SLURM_ARRAY_TASK_ID"; while :; do sleep 0.1; done'
"""
ASKED = "cancelled by alice with hpcorch cancel --checkpoint"
PREEMPTED = "preempted: a job with precedence took its place"
# 24.11 requeues an element once more, as preempted, when the attempt that follows a preempted one ends by itself.
REQUEUES_TWICE = (24, 11)


class Sweep:
    """A detached sweep, one run a task, and what the ledger says of it after asking Slurm."""

    def __init__(self, as_alice: AsAlice, *arguments: str, do: list[str]) -> None:
        self._as_alice = as_alice
        flags = ["hydra/launcher=hpcorch_slurm", "hydra.launcher.detach=true", f"+do={','.join(do)}", *arguments]
        own = f"hydra.sweep.dir=sweeps/{uuid4().hex}"  # two are launched within one second
        left = as_alice(["python", "app.py", "-m", own, *flags])
        assert left.returncode == 0, left.stderr
        self.id = self._show("last")["sweep"]

    def hpcorch(self, verb: str, runs: str = "", *flags: str):
        done = self._as_alice(["hpcorch", verb, f"{self.id}{runs}", *flags])
        assert done.returncode in (0, 1), (done.stdout, done.stderr)
        return done

    @property
    def runs(self):
        return self._show(self.id, "--refresh")["runs"]

    @property
    def array(self) -> str:
        return self.runs[0]["job_id"].split("_")[0]

    def is_running(self) -> bool:
        return {run["state"] for run in self.runs} == {"RUNNING"} and all(run["attempts"] for run in self.runs)

    def of_runs(self, *keys: str):
        """These of each run."""
        return lambda: [tuple(run[key] for key in keys) for run in self.runs]

    def of_attempts(self, *keys: str):
        """These of each attempt of its one run."""
        return lambda: [tuple(attempt[key] for key in keys) for attempt in self.runs[0]["attempts"]]

    def _show(self, *words: str):
        return json.loads(self._as_alice(["hpcorch", "status", *words, "--json"]).stdout)


def becomes(look, expected, *, timeout_s: float = 90) -> None:
    """Wait until a look shows what is expected, or fail and tell what the last one showed."""
    deadline = time.monotonic() + timeout_s
    while (seen := look()) != expected and time.monotonic() < deadline:
        time.sleep(0.25)
    assert seen == expected


@pytest.fixture
def launch(as_alice, workspace):
    (workspace / "app.py").write_text(APP)
    return lambda *arguments, do: Sweep(as_alice, *arguments, do=do)


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Sweeps that were stopped: at their time limit, by hand, by preemption, by one while they heeded a request."""

    late: Sweep
    by_hand: Sweep
    back: Sweep
    gone: Sweep
    saving: Sweep


@pytest.fixture(scope="module")
def stopped(lab):
    with project_folder(lab, "stopped") as folder:
        (folder / "app.py").write_text(APP)
        yield _stop(AsAlice(lab, folder))


def _stop(as_alice: AsAlice) -> Stopped:
    def launch(node: int, partition: str, *keys: str, do: str = "wait") -> Sweep:
        place = [
            f"hydra.launcher.partition={partition}",
            f"+hydra.launcher.additional_parameters.nodelist=n{node}",
        ]
        return Sweep(as_alice, *place, *keys, do=[do])

    sweeps = Stopped(
        late=launch(1, "normal", "hydra.launcher.timeout_min=1", "hydra.launcher.max_num_timeout=0"),
        back=launch(3, "preempt"),
        saving=launch(3, "preempt", do="save"),
        gone=launch(4, "cancelp"),
        by_hand=launch(1, "normal"),
    )
    for sweep in (sweeps.back, sweeps.saving, sweeps.gone, sweeps.by_hand):
        wait_until(sweep.is_running, 120)
    sweeps.saving.hpcorch("cancel", "", "--checkpoint", "-y")
    for node in ("n3", "n4"):
        urgent = ["-p", "urgent", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 3"]
        as_alice.output(["sbatch", *urgent])
    as_alice.output(["scontrol", "requeue", f"{sweeps.by_hand.array}_0"])
    return sweeps


def test_who_cancelled_a_run(stopped, launch, lab, as_alice):
    """Four hands: scancel by its user and by root, hpcorch at once and after a checkpoint."""
    waiting = launch(do=[f"wait{number}" for number in range(4)])
    wait_until(waiting.is_running)
    as_alice(["scancel", f"{waiting.array}_0"])
    lab.root(["scancel", f"{waiting.array}_1"])
    waiting.hpcorch("cancel", "/2", "-y")
    asked = waiting.hpcorch("cancel", "/3", "--checkpoint", "-y")
    assert "after a checkpoint" in asked.stdout
    uid = as_alice.output(["id", "-u"])
    ends = [
        ("CANCELLED", f"cancelled by alice (uid {uid})"),
        ("CANCELLED", "cancelled by root (uid 0)"),
        ("CANCELLED", "cancelled by alice with hpcorch cancel"),
        ("CANCELLED", ASKED),
    ]
    becomes(waiting.of_runs("state", "reason"), ends)
    stops = [run["attempts"][0]["signal"] for run in waiting.runs]
    assert stops == ["SIGTERM", "SIGTERM", "SIGTERM", "SIGUSR2"]


def test_what_killed_a_run(launch):
    """Too much memory, and three signals of its own code."""
    killed = launch(do=["eat", "SIGKILL", "SIGSEGV", "SIGTERM"])
    wait_until(lambda: all(run["ended_at"] for run in killed.runs), 120)
    ate = ("OUT_OF_MEMORY", "it used more memory than it asked for, and Slurm killed it (see its log)")
    becomes(lambda: killed.of_runs("state", "reason")()[0], ate)
    _, *others = killed.runs
    assert [run["state"] for run in others] == ["FAILED"] * 3
    by_kill, by_crash, by_stop = (run["reason"] for run in others)
    assert by_kill.startswith("killed by SIGKILL: by its own code")
    assert by_crash == "it crashed in native code: SIGSEGV"
    assert by_stop.startswith("stopped by SIGTERM, which Slurm did not send")


def test_a_run_of_several_ranks_ends_as_one_when_it_is_asked_to(launch):
    """The signal goes through srun to all of them, and rank 0 tells."""
    sweep = launch("hydra.launcher.tasks_per_node=2", do=["wait"])
    wait_until(sweep.is_running)
    sweep.hpcorch("cancel", "", "--checkpoint", "-y")
    becomes(sweep.of_runs("state", "reason"), [("CANCELLED", ASKED)])
    assert sweep.of_attempts("signal")() == [("SIGUSR2",)]


def test_a_run_that_is_requeued_by_hand_goes_on(stopped):
    ends = [("REQUEUED", "requeued by hand, or by the site"), ("COMPLETED", None)]
    becomes(stopped.by_hand.of_attempts("state", "reason"), ends)
    assert stopped.by_hand.of_runs("state")() == [("COMPLETED",)]


def test_a_run_that_slurm_does_not_requeue_after_a_preemption_is_submitted_again(stopped):
    """By whoever looks next."""
    gone = stopped.gone
    becomes(gone.of_attempts("submission", "state"), [(0, "PREEMPTED"), (1, "RUNNING")])
    assert gone.of_attempts("reason")()[0] == (PREEMPTED,)
    gone.hpcorch("cancel", "", "-y")
    becomes(gone.of_attempts("state"), [("PREEMPTED",), ("CANCELLED",)])


def test_a_run_that_is_preempted_goes_on_and_completes_once(stopped, lab):
    ends = [("PREEMPTED", PREEMPTED), ("COMPLETED", None)]
    if lab.version == REQUEUES_TWICE:
        ends.append(("SKIPPED", "completed by attempt 0.s0.r1"))
    becomes(stopped.back.of_attempts("state", "reason"), ends)
    assert stopped.back.of_runs("state", "result")() == [("COMPLETED", "again")]
    first, second, *_ = stopped.back.of_attempts("restart", "signal")()
    assert (first, second) == ((0, "SIGTERM"), (1, None))


def test_a_run_that_is_preempted_before_it_has_ended_as_asked_ends_at_its_next_start(stopped, lab):
    ends = [("PREEMPTED", None), ("CANCELLED", "SIGUSR2")]  # the first was killed while it saved
    if lab.version == REQUEUES_TWICE:
        ends.insert(1, ("PREEMPTED", "SIGUSR2"))
    becomes(stopped.saving.of_attempts("state", "signal"), ends)
    becomes(stopped.saving.of_runs("state", "reason"), [("CANCELLED", ASKED)])


def test_a_run_of_several_ranks_that_fail_when_they_are_preempted_goes_on(launch, as_alice, workspace):
    """By a handler of its own for SIGTERM, which its ranks get before the job's end: 22.05 calls that FAILED."""
    place = ["hydra.launcher.partition=preempt", "+hydra.launcher.additional_parameters.nodelist=n2"]
    own = launch("hydra.launcher.tasks_per_node=2", *place, do=["own"])
    wait_until(lambda: len(list(workspace.glob("own-*"))) == 2)
    as_alice.output(["sbatch", "-p", "urgent", "-w", "n2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 3"])
    becomes(own.of_runs("state", "result"), [("COMPLETED", "again")], timeout_s=120)
    assert own.of_attempts("state", "signal")()[0] == ("PREEMPTED", "SIGTERM")


def test_a_script_that_ends_while_it_is_preempted_is_no_failure(as_alice, workspace, lab):
    """22.05 calls it failed and does not requeue it; what its attempt was ended by is told all the same.

    (An element whose step's end reaches its srun late, on a busy machine, is requeued there, too.)
    """
    (workspace / "job.sh").write_text(SCRIPT)
    place = ["--partition=preempt", "--nodelist=n2"]
    as_alice.output(["hpcorch", "sbatch", *place, "--array=0-3", "--open-mode=append", "job.sh"])

    def runs():
        return json.loads(as_alice(["hpcorch", "status", "last", "--refresh", "--json"]).stdout)["runs"]

    wait_until(lambda: len(list(workspace.glob("ready-*"))) == 4)
    as_alice.output(["sbatch", "-p", "urgent", "-w", "n2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 3"])
    becomes(lambda: [run["attempts"][0]["state"] if run["attempts"] else None for run in runs()], ["PREEMPTED"] * 4)
    wait_until(lambda: {run["state"] for run in runs()} <= {"CANCELLED", "COMPLETED"}, 120)
    over = {(run["state"], run["exit_code"]) for run in runs()}
    assert (("CANCELLED", 3) in over) == (lab.version == (22, 5))
    if lab.version == (22, 5):
        told = as_alice(["hpcorch", "why", f"last/{next(r['index'] for r in runs() if r['state'] == 'CANCELLED')}"])
        assert "preempted: it ended within the grace time" in " ".join(told.stdout.split())


def test_a_run_ends_at_its_time_limit(stopped):
    becomes(stopped.late.of_runs("state", "reason"), [("TIMEOUT", "it reached its time limit")], timeout_s=120)
