"""Why runs stopped, told from what real daemons do: preemption in both modes, cancels, memory, time, signals.

The cgroup plugin's OUT_OF_MEMORY needs cgroups of the lab's own, which a container does not give: of memory only
the shape that OverMemoryKill makes is here.
"""

from __future__ import annotations

import json

import pytest

APP = """
import os, signal, time
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    if cfg.do == "eat":
        eaten = bytearray(700 << 20)
    elif cfg.do.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[cfg.do])
    elif "SLURM_RESTART_COUNT" in os.environ:
        return "again"
    time.sleep(200)

main()
"""
WAITS = [f"wait{number}" for number in range(5)]


class Sweep:
    """A detached sweep, one run a task, and what the ledger says of it after asking Slurm."""

    def __init__(self, as_alice, app, *arguments: str, do: list[str]) -> None:
        self._as_alice = as_alice
        flags = ["hydra/launcher=hpcorch_slurm", "hydra.launcher.detach=true", f"+do={','.join(do)}", *arguments]
        left = as_alice(["python", str(app), "-m", *flags])
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

    def words(self, state: str) -> list[int]:
        """The runs of which the control journal holds such a word."""
        events = json.loads(self.hpcorch("show", "", "--events", "--json").stdout)["events"]
        observed = [event["body"] for event in events if event["kind"] == "job-observed"]
        return [body["run"] for body in observed if body["state"] == state]

    def _show(self, *words: str):
        return json.loads(self._as_alice(["hpcorch", "status", *words, "--json"]).stdout)


@pytest.fixture
def launch(as_alice, workspace):
    app = workspace / "app.py"
    app.write_text(APP)
    return lambda *arguments, do: Sweep(as_alice, app, *arguments, do=do)


def test_who_ended_a_run_and_what_killed_it(launch, lab, as_alice, eventually):
    """Four hands that cancel, three signals of the run's own code, and too much memory."""
    killed = launch(do=["eat", "SIGKILL", "SIGSEGV", "SIGTERM"])
    waiting = launch(do=WAITS[:4])
    eventually(waiting.is_running)
    as_alice(["scancel", f"{waiting.array}_0"])
    lab.root(["scancel", f"{waiting.array}_1"])
    waiting.hpcorch("cancel", "/2", "-y")
    asked = waiting.hpcorch("cancel", "/3", "--checkpoint", "-y")
    assert "runs 3 after a checkpoint" in asked.stdout
    eventually(lambda: {run["state"] for run in waiting.runs} == {"CANCELLED"})
    uid = as_alice.output(["id", "-u"])
    eventually(
        lambda: (
            [run["reason"] for run in waiting.runs]
            == [
                f"cancelled by alice (uid {uid})",
                "cancelled by root (uid 0)",
                "cancelled by alice with hpcorch cancel",
                "cancelled by alice with hpcorch cancel --checkpoint",
            ]
        )
    )
    stops = [run["attempts"][0]["signal"] for run in waiting.runs]
    assert stops == ["SIGTERM", "SIGTERM", "SIGTERM", "SIGUSR2"]

    eventually(lambda: all(run["ended_at"] for run in killed.runs))
    eaten, *others = killed.runs
    assert (eaten["state"], eaten["reason"]) == (
        "OUT_OF_MEMORY",
        "it used more memory than it asked for, and Slurm killed it (see its log)",
    )
    assert [run["state"] for run in others] == ["FAILED"] * 3
    by_kill, by_crash, by_stop = (run["reason"] for run in others)
    assert by_kill.startswith("killed by SIGKILL: by its own code")
    assert by_crash == "it crashed in native code: SIGSEGV"
    assert by_stop.startswith("stopped by SIGTERM, which Slurm did not send")


def test_preempted_requeued_given_up_and_out_of_time(launch, as_alice, workspace, eventually):
    """What the cluster does to runs without their doing: each attempt says what, and only time ends a run."""
    late = launch("hydra.launcher.timeout_min=1", "hydra.launcher.max_num_timeout=0", do=["wait"])
    by_hand = launch(do=["wait"])
    back = launch(
        "hydra.launcher.partition=preempt", "+hydra.launcher.additional_parameters.nodelist=n3", do=["wait"]
    )
    gone = launch(
        "hydra.launcher.partition=cancelp", "+hydra.launcher.additional_parameters.nodelist=n4", do=["wait"]
    )
    for sweep in (by_hand, back, gone):
        eventually(sweep.is_running)
    as_alice(["scontrol", "requeue", f"{by_hand.array}_0"])
    for node in ("n3", "n4"):
        urgent = ["-p", "urgent", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 3"]
        assert as_alice(["sbatch", "--chdir", str(workspace), *urgent]).returncode == 0

    eventually(lambda: gone.words("NOT_REQUEUED") == [0], timeout_s=90)
    (run,) = gone.runs
    assert run["attempts"][0]["state"] == "PREEMPTED"
    assert run["attempts"][0]["reason"] == "preempted: a job that goes first took its place"
    if run["state"] == "PLANNED":  # whoever looked may have submitted it again already
        assert run["reason"] == "preempted, and Slurm does not requeue what it preempts here"
        gone.hpcorch("cancel", "", "-y")
        assert [run["state"] for run in gone.runs] == ["CANCELLED"]

    for sweep, state in ((back, "PREEMPTED"), (by_hand, "REQUEUED")):
        eventually(lambda sweep=sweep: sweep.runs[0]["state"] == "COMPLETED", timeout_s=90)
        eventually(lambda sweep=sweep, state=state: ends(sweep) == {state, "COMPLETED"})
        assert sweep.words("NOT_REQUEUED") == []
    eventually(lambda: by_hand.runs[0]["attempts"][0]["reason"] == "requeued by hand, or by the site")

    eventually(lambda: late.runs[0]["state"] == "TIMEOUT", timeout_s=100)
    assert late.runs[0]["reason"] == "it reached its time limit"


def test_a_run_of_several_ranks_ends_as_one_when_it_is_asked_to(launch, eventually):
    """The signal goes through srun to all of them, and rank 0 tells."""
    sweep = launch("hydra.launcher.tasks_per_node=2", do=["wait"])
    eventually(sweep.is_running)
    sweep.hpcorch("cancel", "", "--checkpoint", "-y")
    eventually(lambda: [run["state"] for run in sweep.runs] == ["CANCELLED"])
    (run,) = sweep.runs
    eventually(lambda: sweep.runs[0]["reason"] == "cancelled by alice with hpcorch cancel --checkpoint")
    assert run["attempts"][0]["signal"] == "SIGUSR2"


def ends(sweep: Sweep) -> set[str]:
    """How the attempts of its one run ended; the scheduler may preempt it more than once."""
    return {attempt["state"] for attempt in sweep.runs[0]["attempts"]}
