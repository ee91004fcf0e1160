"""What the cluster's own settings mean for sweeps: one function per check, from the survey to a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from hpcorch.services.doctor.rows import Row, limited, not_ok, ok, unknown
from hpcorch.services.site.survey import Survey
from hpcorch.slurm.answers.scontrol import ClusterConfig

# The releases of Slurm that hpcorch was tried on, oldest and newest.
OLDEST, NEWEST = (22, 5), (26, 5)
# Normal between hosts with a time server, and small enough not to confuse a reader of a record.
_CLOSE_S, _FAR_S = 5.0, 60.0
# From SIGTERM to SIGKILL: less is too short for most checkpoints.
_SHORT_KILL_S = 10
# A run and the keeper of its array.
_LEAST_JOBS = 2

# What users do not see of others with PrivateData (slurm.conf(5)), and what of ours gets to know less.
_HIDDEN = {
    "jobs": "of others' jobs, so `hpcorch resources` counts yours alone, and `hpcorch why` sees yours alone",
    "usage": "of others' use, so `hpcorch why` cannot compare shares",
    "nodes": "of nodes, so `hpcorch init` finds no GPUs",
    "partitions": "of partitions that you may not use",
    "reservations": "of reservations that you may not use, so a pool's cannot be checked",
    "accounts": "of others' accounts, so limits of a whole account may be lower than shown",
}


def slurm(facts: Survey) -> Row:
    """The release."""
    name, version = "slurm", facts.config.version
    told = f"Slurm {version} answers{f', cluster {facts.config.cluster}' if facts.config.cluster else ''}"
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        return unknown(name, f"Slurm answers, but hpcorch does not know its release {version!r}")
    release = (int(found[1]), int(found[2]))
    if release < OLDEST:
        return not_ok(name, f"{told}; hpcorch needs 22.05 or later", "ask for a newer Slurm, or use hpcorch_local")
    if release > NEWEST:
        cure = "read what `hpcorch status --refresh` says of a first small sweep before a large one"
        return limited(
            name, f"{told}, which is newer than the releases that hpcorch was tested with (22.05 to 26.05)", cure
        )
    return ok(name, told)


def accounting(facts: Survey) -> Row:
    """Whether the database answers, and what is uncertain without it."""
    name, memory = "accounting", facts.config.min_job_age_s
    if facts.database:
        return ok(name, "the database (slurmdbd) answers")
    lost = (
        f"how a job ended that wrote nothing of it (killed, lost with its node) is known only until the controller"
        f" forgets it, {memory} s later (MinJobAge); after that such a run is UNCERTAIN or LOST"
    )
    if facts.config.accounting:
        cure = "try again later; if it persists, tell the administrators that slurmdbd is down"
        return not_ok(name, f"the database (slurmdbd) does not answer; meanwhile {lost}", cure)
    cure = "wait for sweeps (without detach), or run `hpcorch status --refresh` before that"
    return limited(name, f"the cluster has no database; {lost}", cure)


def limits(facts: Survey) -> Row:
    """How much may be with Slurm at once."""
    name, largest = "limits", facts.config.max_array_size
    if largest < _LEAST_JOBS:
        return not_ok(
            name, f"MaxArraySize is {largest}: no job arrays", "ask the administrators to allow job arrays"
        )
    known = {partition: one for partition, one in facts.limits.items() if one.max_submit is not None}
    narrow = {p: one for p, one in known.items() if (one.max_submit or 0) < _LEAST_JOBS}
    if narrow:
        partition, one = next(iter(narrow.items()))
        cure = "ask for a higher limit, or use another partition: a run and the keeper of its array are two jobs"
        return not_ok(name, f"in partition {partition} you may have {one.source}", cure)
    told = f"arrays have up to {facts.config.array_tasks} runs ({_which(facts.config)})"
    if not known:
        return ok(name, f"{told}; no other limit is known")
    lowest = min(known.values(), key=lambda one: one.max_submit or 0)
    return ok(name, f"{told}; you may have {lowest.source}; larger sweeps are submitted in parts")


def _which(config: ClusterConfig) -> str:
    return "MaxArraySize" if config.array_tasks == config.max_array_size else "max_array_tasks"


def array_tasks(facts: Survey) -> Row:
    """A limit beside MaxArraySize, within which sweeps are cut into arrays."""
    name, tasks = "array tasks", facts.config.max_array_tasks
    if tasks is None or tasks >= facts.config.max_array_size:
        return ok(name, "SchedulerParameters sets no lower limit")
    told = f"SchedulerParameters has max_array_tasks={tasks}"
    if tasks < 1:
        return not_ok(name, f"{told}: no job arrays", "ask the administrators to allow job arrays")
    return ok(name, f"{told}: larger sweeps are several arrays of up to {tasks} runs")


def private_data(facts: Survey) -> Row:
    """What Slurm hides of other users."""
    name, hidden = "private data", facts.settings.private_data
    told = [words for word, words in _HIDDEN.items() if word in hidden]
    if not told:
        return ok(name, "you can see everything that `resources` and `why` need")
    cure = "no action is needed: you see your own runs in full; for the rest ask the administrators"
    return limited(name, f"PrivateData is {','.join(sorted(hidden))}: you do not see all {'; '.join(told)}", cure)


def preemption(facts: Survey) -> Row:
    """What happens to preempted runs."""
    name = "preemption"
    if not facts.config.preempts:
        return ok(name, "this cluster preempts no jobs")
    modes = {one.name: one.preempt_mode or facts.settings.preempt_mode for one in facts.partitions or ()}
    cancelled = sorted(partition for partition, mode in modes.items() if "CANCEL" in mode)
    suspended = sorted(partition for partition, mode in modes.items() if "SUSPEND" in mode)
    if suspended:
        cure = "use another partition for runs that hold licences or leases: a suspended run keeps what it holds"
        return limited(name, f"what is preempted in {', '.join(suspended)} is suspended", cure)
    if cancelled:
        cure = (
            "no action is needed: the array's keeper job runs them again; save checkpoints"
            " (docs/guide/checkpoints.md)"
        )
        return limited(name, f"what is preempted in {', '.join(cancelled)} is cancelled, not requeued", cure)
    asked = "" if facts.settings.requeues else ", since hpcorch asks for it (JobRequeue is 0: other jobs are not)"
    return ok(name, f"a preempted run is requeued by Slurm{asked}")


def ending(facts: Survey) -> Row:
    """How long a run has to end after SIGTERM."""
    name, kill, over = "time to end", facts.config.kill_wait_s, facts.settings.over_time_limit_min
    told = f"{kill} s from SIGTERM to SIGKILL (KillWait)"
    if over != 0:
        told += (
            f"; runs may go on {'for ever' if over is None else f'{over} min'} beyond their limit (OverTimeLimit)"
        )
    if kill >= _SHORT_KILL_S:
        return ok(name, told)
    cure = "save checkpoints as you go: a preempted or cancelled run continues from the last one"
    return limited(name, f"{told}: little time for a last checkpoint", cure)


def controller_clock(facts: Survey) -> Row:
    """The controller's clock beside this host's."""
    if facts.ahead_s is None:
        return unknown("clock", "the controller does not report its time")
    return clock("clock", "the controller", facts.ahead_s)


def clock(check: str, whose: str, ahead_s: float, *, within_s: float = 0.0) -> Row:
    """A row about another clock.

    :param whose: as the subject of a sentence
    :param ahead_s: seconds by which it is ahead of this host's
    :param within_s: how exactly that is known
    """
    off = max(0.0, abs(ahead_s) - within_s)
    known = f"within {max(within_s, 1):.0f} s"
    if off <= _CLOSE_S:
        return ok(check, f"{whose} and this host agree {known}")
    told = f"the clock of {whose} is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this host's"
    if off <= _FAR_S:
        return limited(
            check, told, "tell the administrators: times of events are off by as much, their order is not"
        )
    cure = (
        "tell the administrators (NTP): jobs may not be found in accounting by their time, leases may seem expired"
    )
    return not_ok(check, told, cure)


CHECKS: Sequence[Callable[[Survey], Row]] = (
    *(slurm, accounting, limits, array_tasks, private_data, preemption, ending, controller_clock),
)
