"""The faults of the campaign: what each does to a sweep, and how its runs may end then. Used by faults.py.

The comment of a kind that allows LOST says why nobody can know.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from fault_trial import Trial
from lab_cluster import wait_until

Inject = Callable[[Trial, random.Random], None]
COMPLETED = frozenset({"COMPLETED"})
# The launcher died: everything was done, or nothing is.
ALL_OR_NOTHING = frozenset({"COMPLETED", "PLANNED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of fault.

    :param group: the row of the table that counts it
    :param allowed: states that runs may end in
    """

    name: str
    group: str
    inject: Inject
    allowed: frozenset[str]


KINDS: dict[str, Kind] = {}


def kind(group: str, allowed: frozenset[str] = COMPLETED, name: str = "") -> Callable[[Inject], Inject]:
    def register(inject: Inject) -> Inject:
        key = name or inject.__name__.strip("_").replace("_", "-")
        KINDS[key] = Kind(name=key, group=group, inject=inject, allowed=allowed)
        return inject

    return register


# Death during submission

_CALLS = {  # program -> the call of it that belongs to a submission
    "sbatch": '[[ "$*" != *--test-only* ]]',
    "squeue": "true",
    "sacct": '[[ "$*" != *helpformat* ]]',
    "scontrol": "[[ $1 = release ]]",
}
_MOMENTS = {
    "before": "kill -9 $PPID",
    "during": '$real "$@" & sleep $DELAY; kill -9 $PPID; wait',
    "after": '$real "$@"; kill -9 $PPID',
}
_SBATCH_DEATHS = {
    "before": "kill -9 $$",
    "during": '$real "$@" & sleep $DELAY; kill -9 $! $$',
    "after": '$real "$@" >/dev/null; kill -9 $$',
}


def _delay(chance: random.Random) -> str:
    return f"DELAY={chance.uniform(0, 0.03):.4f}"


def _kill_launcher_at(program: str, moment: str) -> None:
    def inject(trial: Trial, chance: random.Random) -> None:
        trial.replace(program, when=_CALLS[program], action=f"{_delay(chance)}\n{_MOMENTS[moment]}")
        trial.launch()

    kind("kill -9 of the launcher at a call of Slurm", ALL_OR_NOTHING, f"launcher-{moment}-{program}")(inject)


def _kill_sbatch(moment: str) -> None:
    def inject(trial: Trial, chance: random.Random) -> None:
        trial.replace("sbatch", when=_CALLS["sbatch"], action=f"{_delay(chance)}\n{_SBATCH_DEATHS[moment]}")
        trial.launch()

    kind("kill -9 of sbatch", ALL_OR_NOTHING, f"slaunch-{moment}")(inject)


for _program in _CALLS:
    for _moment in _MOMENTS:
        _kill_launcher_at(_program, _moment)
for _moment in _SBATCH_DEATHS:
    _kill_sbatch(_moment)


@kind("kill -9 of the launcher at any time", ALL_OR_NOTHING)
def launcher_at_any_time(trial: Trial, chance: random.Random) -> None:
    launcher = trial.start(detach=False)
    time.sleep(chance.uniform(0.3, 3.0))
    trial.kill_launcher()
    launcher.wait(60)


@kind("kill -9 of the launcher, sbatch goes on", COMPLETED)
def sbatch_outlives_the_launcher(trial: Trial, _chance: random.Random) -> None:
    trial.replace("sbatch", when=_CALLS["sbatch"], action='kill -9 $PPID; sleep 6; exec $real "$@"')
    trial.launch()
    trial.refresh()  # too early: nothing may be concluded


@kind("sbatch submits twice")
def sbatch_twice(trial: Trial, _chance: random.Random) -> None:
    trial.replace("sbatch", when=_CALLS["sbatch"], action='$real "$@" >/dev/null; exec $real "$@"')
    trial.launch()


@kind("sbatch submits twice", name="sbatch-twice-and-launcher-killed")
def _twice_and_killed(trial: Trial, _chance: random.Random) -> None:
    trial.replace("sbatch", when=_CALLS["sbatch"], action='$real "$@"; $real "$@"; kill -9 $PPID')
    trial.launch()


# Daemons during submission


@kind("slurmctld frozen while sbatch waits", ALL_OR_NOTHING)
def frozen_controller(trial: Trial, chance: random.Random) -> None:
    _frozen(trial, chance.uniform(3, 15))


@kind("slurmctld frozen while sbatch waits", ALL_OR_NOTHING)
def frozen_controller_until_sbatch_gives_up(trial: Trial, _chance: random.Random) -> None:
    _frozen(trial, 70)


@kind("slurmctld frozen while sbatch waits", ALL_OR_NOTHING)
def frozen_controller_and_launcher_killed(trial: Trial, chance: random.Random) -> None:
    _frozen(trial, chance.uniform(3, 8), kill=True)


def _frozen(trial: Trial, seconds: float, *, kill: bool = False) -> None:
    trial.gate()
    launcher = trial.start()
    trial.wait_at_gate()
    trial.cluster.signal(signal.SIGSTOP, "slurmctld")
    trial.open_gate()
    time.sleep(seconds)
    if kill:
        trial.kill_launcher()
    trial.cluster.signal(signal.SIGCONT, "slurmctld")
    launcher.wait(200)


# Slurm may have forgotten the array, which then counts as cancelled, or its release.
@kind("slurmctld killed during submission", frozenset({"COMPLETED", "PLANNED", "CANCELLED"}))
def controller_killed_during_submission(trial: Trial, chance: random.Random) -> None:
    trial.gate()
    launcher = trial.start()
    trial.wait_at_gate()
    trial.open_gate()
    time.sleep(chance.uniform(0, 0.15))
    trial.cluster.signal(signal.SIGKILL, "slurmctld")
    time.sleep(chance.uniform(0, 3))
    trial.cluster.mend()
    launcher.wait(200)
    trial.sacct_counts = False
    _release_again(trial)


# Death of what runs


def _running(trial: Trial, *keys: str, sleep: float = 6) -> None:
    trial.launch(*keys, sleep=sleep)
    trial.wait_for_notes("called", trial.runs)


@kind("kill -9 of a task", frozenset({"COMPLETED", "FAILED"}))
def task_killed(trial: Trial, chance: random.Random) -> None:
    _running(trial)
    _kill(trial, chance.choice(trial.tasks()))


@kind("kill -9 of a task", frozenset({"COMPLETED", "FAILED"}))
def task_killed_at_any_time(trial: Trial, chance: random.Random) -> None:
    trial.launch(sleep=0.2)
    wait_until(trial.tasks)
    time.sleep(chance.uniform(0, 1.2))
    for pid in trial.tasks():
        _kill(trial, pid)


def _kill(trial: Trial, pid: int) -> None:
    """A pid, unless it is over already or is another's."""
    if pid in trial.tasks():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


# Of a step whose daemon died Slurm says NODE_FAIL, and requeues it; or it takes the task's own end for granted.
@kind("kill -9 of slurmstepd", frozenset({"COMPLETED", "NODE_FAIL", "FAILED"}))
def stepd_killed(trial: Trial, chance: random.Random) -> None:
    _running(trial)
    steps = [pid for job in trial.raw_ids() for pid in trial.cluster.processes(f"slurmstepd: [{job}.")]
    os.kill(chance.choice(steps), signal.SIGKILL)
    time.sleep(chance.uniform(0, 8))
    # Only when a node registers anew, and not at once, does the controller learn that its step is gone.
    wait_until(lambda: _no_longer_thought_to_run(trial), timeout_s=240, interval_s=30)


def _no_longer_thought_to_run(trial: Trial) -> bool:
    trial.cluster.signal(signal.SIGKILL, "slurmd", "-D")
    trial.cluster.mend()
    return not [row for row in trial.queue() if "RUNNING" in row]


# Nodes


@kind("slurmd stopped or killed")
def slurmd_frozen(trial: Trial, chance: random.Random) -> None:
    trial.launch("nodelist=n3", sleep=3)
    time.sleep(chance.uniform(0, 2))
    trial.cluster.signal(signal.SIGSTOP, "slurmd", "-D", "n3")
    time.sleep(chance.uniform(3, 8))
    trial.cluster.signal(signal.SIGCONT, "slurmd", "-D", "n3")


@kind("slurmd stopped or killed")
def slurmd_killed_and_restarted(trial: Trial, chance: random.Random) -> None:
    _running(trial, "nodelist=n3", sleep=chance.uniform(1, 4))
    trial.cluster.signal(signal.SIGKILL, "slurmd", "-D", "n3")
    time.sleep(chance.uniform(1, 5))
    trial.cluster.mend()


@kind("a node dies")
def node_dies(trial: Trial, _chance: random.Random) -> None:
    _running(trial, "nodelist=n3", sleep=8)
    trial.cluster.signal(signal.SIGKILL, "slurmd", "-D", "n3")
    for job in trial.raw_ids():
        trial.cluster.signal(signal.SIGKILL, f"slurmstepd: [{job}.")
    for pid in trial.tasks():
        _kill(trial, pid)
    trial.cluster.root("scontrol", "update", "nodename=n3", "state=down", "reason=fault")
    time.sleep(2)
    trial.cluster.mend()


@kind("a node dies")
def node_cut_off_while_its_tasks_go_on(trial: Trial, _chance: random.Random) -> None:
    _running(trial, "nodelist=n3", sleep=10)
    trial.cluster.signal(signal.SIGKILL, "slurmd", "-D", "n3")
    trial.cluster.root("scontrol", "update", "nodename=n3", "state=down", "reason=fault")
    time.sleep(1)
    trial.cluster.mend()


# Daemons while it runs

# slurmctld writes down what changed within so many seconds.
STATE_SAVED_S = 6


@kind("slurmctld restarted in the middle")
def controller_restarted(trial: Trial, chance: random.Random) -> None:
    _restarted(trial, chance, "slurmctld")


@kind("slurmdbd restarted in the middle")
def database_restarted(trial: Trial, chance: random.Random) -> None:
    _restarted(trial, chance, "slurmdbd")


@kind("both restarted in the middle")
def controller_and_database_restarted(trial: Trial, chance: random.Random) -> None:
    _restarted(trial, chance, "slurmdbd", "slurmctld")


def _restarted(trial: Trial, chance: random.Random, *daemons: str) -> None:
    """The tasks may end while nobody listens; the launcher waits all the while."""
    launcher = trial.start('exclude="n3,n4"', sleep=2, detach=False)
    trial.wait_for_notes("called", 1)
    time.sleep(chance.uniform(0, 1.5))
    for daemon in daemons:
        trial.cluster.signal(signal.SIGTERM, daemon, "-D")
    trial.refresh()
    time.sleep(chance.uniform(1, 6))
    trial.cluster.mend()
    launcher.wait(200)


@kind("slurmctld killed in the middle")
def controller_killed(trial: Trial, chance: random.Random) -> None:
    _running(trial, sleep=10)
    time.sleep(STATE_SAVED_S)
    trial.cluster.signal(signal.SIGKILL, "slurmctld", "-D")
    time.sleep(chance.uniform(0, 6))
    trial.cluster.mend()


# Others act

_PARTLY = frozenset({"COMPLETED", "CANCELLED"})


@kind("scancel from outside", _PARTLY)
def one_running_element_cancelled(trial: Trial, _chance: random.Random) -> None:
    _running(trial)
    trial.cluster.root("scancel", f"{trial.array()}_1")


@kind("scancel from outside", _PARTLY)
def running_array_cancelled(trial: Trial, chance: random.Random) -> None:
    trial.launch(sleep=1.5)
    time.sleep(chance.uniform(0, 3))
    trial.cluster.root("scancel", trial.array())


@kind("scancel from outside", _PARTLY)
def one_waiting_element_cancelled(trial: Trial, _chance: random.Random) -> None:
    trial.launch("array_parallelism=1", 'exclude="n3,n4"', sleep=2)
    trial.cluster.root("scancel", f"{trial.array()}_2")


@kind("scancel from outside", frozenset({"CANCELLED"}))
def waiting_array_cancelled(trial: Trial, _chance: random.Random) -> None:
    trial.launch("+additional_parameters.begin=now+1hour")
    trial.cluster.root("scancel", trial.array())


@kind("scancel from outside", frozenset({"CANCELLED"}))
def held_array_cancelled(trial: Trial, _chance: random.Random) -> None:
    trial.replace("scontrol", when=_CALLS["scontrol"], action="kill -9 $PPID")
    trial.launch()
    trial.cluster.root("scancel", trial.array())


@kind("scancel from outside", _PARTLY, "scancel-kill")
def _scancel_kill(trial: Trial, _chance: random.Random) -> None:
    _running(trial)
    trial.cluster.root("scancel", "--signal=KILL", "--full", f"{trial.array()}_0")
    trial.cluster.root("scancel", f"{trial.array()}_0")


@kind("requeue from outside")
def running_element_requeued(trial: Trial, chance: random.Random) -> None:
    _running(trial, sleep=4)
    time.sleep(chance.uniform(0, 3.5))
    trial.cluster.root("scontrol", "requeue", f"{trial.array()}_1")


@kind("requeue from outside")
def completed_element_requeued(trial: Trial, _chance: random.Random) -> None:
    _completed(trial)
    trial.refresh()
    trial.cluster.root("scontrol", "requeue", f"{trial.array()}_1")


@kind("requeue from outside")
def completed_element_requeued_before_anybody_looked(trial: Trial, _chance: random.Random) -> None:
    _completed(trial)
    trial.cluster.root("scontrol", "requeue", f"{trial.array()}_1")


@kind("requeue from outside")
def whole_array_requeued(trial: Trial, chance: random.Random) -> None:
    _running(trial, sleep=3)
    time.sleep(chance.uniform(0, 3))
    trial.cluster.root("scontrol", "requeue", trial.array())


def _completed(trial: Trial) -> None:
    trial.launch(sleep=0.2)
    wait_until(lambda: len(trial.queue()) == 0)


@kind("preemption")
def preempted_and_requeued(trial: Trial, _chance: random.Random) -> None:
    _preempted(trial, "preempt")


# With PreemptMode=CANCEL Slurm itself cancels, and starts nothing again: hpcorch submits the runs anew.
@kind("preemption")
def preempted_and_cancelled(trial: Trial, _chance: random.Random) -> None:
    _preempted(trial, "cancelp")


def _preempted(trial: Trial, partition: str) -> None:
    # Of what ends within the grace time sacct says TIMEOUT, although it completed (measured on 22.05).
    _running(trial, f"partition={partition}", "nodelist=n4", sleep=60)
    urgent = ["sbatch", "-p", "urgent", "-w", "n4", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1"]
    trial.cluster.root(*urgent)
    wait_until(lambda: not trial.tasks(), timeout_s=60)


# Files


@kind("the journal's disk is full", frozenset({"FAILED"}))
def disk_full_at_the_claim(trial: Trial, _chance: random.Random) -> None:
    _on_small_disk(trial)
    _fill(trial)
    trial.open_gate()
    _over(trial)


# A task that completed finds no room to say so: its result is lost, and the run has failed.
@kind("the journal's disk is full", frozenset({"COMPLETED", "FAILED"}))
def disk_full_while_tasks_run(trial: Trial, chance: random.Random) -> None:
    _on_small_disk(trial)
    trial.open_gate()
    trial.wait_for_notes("called", chance.randrange(1, 4))
    _fill(trial)
    _over(trial)


def _on_small_disk(trial: Trial) -> None:
    """Stop the launcher before it submits, and mount a small disk where the journals will be."""
    trial.gate()
    trial.start(sleep=2, ballast=9000)
    trial.wait_at_gate()
    disk = str(trial.journals)
    trial.cluster.root("mount", "-t", "tmpfs", "-o", "size=64k,uid=alice,mode=700", "tmpfs", disk)


def _fill(trial: Trial) -> None:
    trial.cluster.root("sh", "-c", f"cat /dev/zero >{trial.journals}/filler || true")


def _over(trial: Trial) -> None:
    """Wait for the end of the jobs, and make room again."""
    wait_until(lambda: not trial.is_being_launched() and not trial.queue())
    trial.cluster.root("rm", f"{trial.journals}/filler")


# A journal of which the end is gone does not tell it, and Slurm tells only that the job completed: nobody knows.
@kind("torn journals", frozenset({"COMPLETED", "LOST"}))
def journals_torn_before_anybody_looked(trial: Trial, chance: random.Random) -> None:
    _completed(trial)
    _tear(trial, chance)
    trial.torn = True


@kind("torn journals")
def journals_torn_after_the_ledger_had_them(trial: Trial, chance: random.Random) -> None:
    _completed(trial)
    trial.refresh()
    _tear(trial, chance)
    trial.torn = True


@kind("torn journals", frozenset({"COMPLETED", "LOST"}))
def journals_torn_while_the_task_writes(trial: Trial, chance: random.Random) -> None:
    _running(trial, sleep=3)
    if chance.random() < 0.5:
        trial.refresh()
    _tear(trial, chance)
    trial.torn = True


@kind("torn journals")
def control_journal_torn(trial: Trial, chance: random.Random) -> None:
    """Its last line, as a login node that lost its power would leave it."""
    trial.launch(sleep=1)
    path = trial.journals.parent / "control.jsonl"
    content = path.read_bytes()
    last = len(content.splitlines(keepends=True)[-1])
    path.open("rb+").truncate(len(content) - chance.randrange(1, last))


def _tear(trial: Trial, chance: random.Random) -> None:
    for path in sorted(trial.journals.glob("*.jsonl")):
        with path.open("rb+") as file:
            file.truncate(chance.randrange(path.stat().st_size))


# What nobody may take away, taken away


# Nobody hears how what ran has ended, unless Slurm says that it failed or was cancelled.
@kind("the sweep directory is deleted", frozenset({"LOST", "FAILED", "CANCELLED"}))
def directory_gone(trial: Trial, chance: random.Random) -> None:
    _running(trial, sleep=8)
    shutil.rmtree(trial.folder / "out")
    told = trial.alice("hpcorch", "status", "last").stderr
    if "is gone" not in told:
        raise RuntimeError(f"status does not say that the directory is gone: {told}")
    if chance.random() < 0.5:
        trial.alice("hpcorch", "cancel", "last", "--yes")


@kind("the ledger is deleted while the launcher waits")
def ledger_gone(trial: Trial, chance: random.Random) -> None:
    launcher = trial.start(sleep=6, detach=False)
    trial.wait_for_notes("called", 1)
    time.sleep(chance.uniform(0, 3))
    for path in trial.folder.glob(".hpcorch/ledger.db*"):
        path.unlink(missing_ok=True)
    launcher.wait(200)


_STOPPED = """
import os
if os.path.exists("stop"):
    from hpcorch.services.submission.feeding import Feeder
    Feeder.feed = lambda *_, **__: os.kill(os.getpid(), 9)
"""


@kind("kill -9 of the launcher between record and submission")
def record_without_submit(trial: Trial, chance: random.Random) -> None:
    program, mark = trial.folder / "app.py", trial.folder / "stop"
    program.write_text(_STOPPED + program.read_text())
    mark.touch()
    trial.launch()
    mark.unlink()
    told = trial.alice("hpcorch", "status", "last").stderr
    if "not submitted" not in told:
        raise RuntimeError(f"status does not say that nothing was submitted: {told}")
    trial.alice("hpcorch", *(["tend"] if chance.random() < 0.5 else ["retry", "last"]))


@kind("sbatch prints the id of another job")
def wrapper_lies(trial: Trial, _chance: random.Random) -> None:
    other = trial.alice("sbatch", "--parsable", "-D", "/tmp", "--array=0-1", "--wrap", "sleep 120").stdout.strip()
    trial.replace("sbatch", when=_CALLS["sbatch"], action=f'$real "$@" >/dev/null; echo {other}')
    trial.launch()
    trial.refresh()
    rows = trial.cluster.root("squeue", "-h", "-r", "-j", other, "-o", "%T").split()
    trial.cluster.root("scancel", other)
    if rows not in (["RUNNING"] * 2, ["PENDING"] * 2):
        raise RuntimeError(f"the other array {other} was touched: {rows}")


# The last, since the controller gives ids again, and a node refuses a job whose id it has had a moment ago.
# Slurm itself forgets here what was not saved yet: the whole job, or that it was released, or that it ran. It kills
# a task that it has forgotten to have started; a job that it does not know at all counts as cancelled.
@kind("slurmctld killed before it saved its state", frozenset({"COMPLETED", "CANCELLED", "FAILED", "LOST"}))
def controller_forgets(trial: Trial, chance: random.Random) -> None:
    launcher = trial.start(sleep=1)
    launcher.wait(60)
    time.sleep(chance.uniform(0, 2))
    trial.cluster.signal(signal.SIGKILL, "slurmctld", "-D")
    trial.cluster.mend()
    trial.sacct_counts = False  # its rows say for ever what was when the controller died
    _release_again(trial)


def _release_again(trial: Trial) -> None:
    """Do what the owner of an array does that Slurm has again: end it if its runs are over, release it if held."""
    for _ in range(10):
        time.sleep(4)
        trial.refresh()
        if not (left := trial.queue()):
            return
        if set(trial.states()) == {"COMPLETED"}:
            trial.alice("scancel", trial.array())
        elif any("held" in row.lower() for row in left):
            trial.alice("hpcorch", "release", "last")
