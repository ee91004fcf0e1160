"""Why a job waits, in plain words instead of Slurm's (squeue(1), JOB REASON CODES). Pure.

Limits have names made of a place, a scope and what is limited, such as ``QOSMaxJobsPerUserLimit`` or
``AssocGrpCPUMinutesLimit``; they are read by their parts, since there are some two hundred.
"""

from __future__ import annotations

import re

from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a reason means.

    :param meaning: what the job waits for, as a clause: "it waits ..."
    :param sooner: what would make it start sooner; empty if nothing that the user can do
    """

    meaning: str
    sooner: str = ""


_SMALLER = "ask for less (fewer GPUs, less memory, a shorter timeout_min: short jobs fit into gaps)"
_TELL_ADMIN = "ask the administrators of the cluster"

_PLAIN: dict[str, Explanation] = {
    "None": Explanation(meaning="the scheduler has not considered it yet", sooner="wait for its next pass"),
    "Priority": Explanation(
        meaning="jobs with a higher priority are ahead of it",
        sooner=f"{_SMALLER}, or use a QOS, partition or pool with a higher priority",
    ),
    "Resources": Explanation(meaning="it is next, but all suitable nodes are busy", sooner=_SMALLER),
    "JobArrayTaskLimit": Explanation(
        meaning="its array has reached its limit of running runs",
        sooner="raise array_parallelism, or free what the runs share (`hpcorch resources`)",
    ),
    "Licenses": Explanation(
        meaning="the licences that it asks for are in use",
        sooner="see who holds them with `hpcorch resources`; ask for fewer, or hold them only for a phase (lease)",
    ),
    "BeginTime": Explanation(
        meaning="its start time has not come: Slurm delays a requeued job briefly, and hpcorch delays a retry",
    ),
    "Dependency": Explanation(meaning="a job that it depends on is not over"),
    "DependencyNeverSatisfied": Explanation(
        meaning="a job that it depends on ended in a way that never lets it start",
        sooner="cancel it, and launch it again without that dependency",
    ),
    "JobHeldUser": Explanation(meaning="it was held by its owner", sooner="`hpcorch release` lets it start"),
    "JobHeldAdmin": Explanation(meaning="it was held by an administrator", sooner=_TELL_ADMIN),
    "JobHoldMaxRequeue": Explanation(
        meaning="it was requeued as often as the cluster allows", sooner="`hpcorch release` lets it try again"
    ),
    "Reservation": Explanation(meaning="its reservation has not begun, or is full"),
    "ReqNodeNotAvail": Explanation(
        meaning="nodes that it needs are down, drained or reserved, often for maintenance",
        sooner="ask for a timeout_min that ends before the maintenance, or for other nodes",
    ),
    "PartitionDown": Explanation(meaning="its partition is down", sooner="use another partition"),
    "PartitionInactive": Explanation(meaning="its partition is inactive", sooner="use another partition"),
    "PartitionNodeLimit": Explanation(
        meaning="it asks for more nodes than its partition allows", sooner="ask for fewer, or another partition"
    ),
    "PartitionTimeLimit": Explanation(
        meaning="it asks for more time than its partition allows", sooner="lower timeout_min, or another partition"
    ),
    "PartitionConfig": Explanation(
        meaning="its partition does not allow what it asks for", sooner="see `scontrol show partition`"
    ),
    "BadConstraints": Explanation(
        meaning="no node has what it asks for any more", sooner="cancel it, and ask for what `sinfo` shows"
    ),
    "NodeDown": Explanation(meaning="a node that it needs is down"),
    "FrontEndDown": Explanation(meaning="the node that would start it is down"),
    "BurstBufferResources": Explanation(meaning="it waits for burst buffer space"),
    "BurstBufferStageIn": Explanation(meaning="its data are being staged in"),
    "Cleaning": Explanation(meaning="its earlier attempt is still being cleaned up"),
    "Prolog": Explanation(meaning="the node is being prepared for it"),
    "SchedDefer": Explanation(meaning="the scheduler is busy and will consider it later"),
    "Deadline": Explanation(meaning="it would not end before its deadline"),
    "InvalidAccount": Explanation(meaning="its account is not valid any more", sooner="cancel it, use another"),
    "InvalidQOS": Explanation(meaning="its QOS is not valid any more", sooner="cancel it, use another"),
    "AccountNotAllowed": Explanation(meaning="its account may not use this partition", sooner="use another"),
    "QOSNotAllowed": Explanation(meaning="its QOS may not be used here", sooner="use another"),
    "SystemFailure": Explanation(meaning="a component of Slurm failed", sooner=_TELL_ADMIN),
    "launch failed requeued held": Explanation(
        meaning="it could not be launched, and was held", sooner="`hpcorch release` lets it try again"
    ),
}

_WHATS = (
    ("SubmitJob", "jobs that may be submitted"),
    ("Jobs", "jobs that may run at once"),
    ("GRES", "GPUs or other GRES"),
    ("Gres", "GPUs or other GRES"),
    ("CpuRunMin", "CPU time of running jobs"),
    ("Cpu", "CPUs"),
    ("CPU", "CPUs"),
    ("Mem", "memory"),
    ("Node", "nodes"),
    ("Wall", "time"),
    ("Billing", "billing units"),
    ("License", "licences"),
    ("Lic", "licences"),
    ("BB", "burst buffer space"),
    ("Energy", "energy"),
    ("Thres", "fair share"),
)


def explain(reason: str | None) -> Explanation:
    """What a reason means; an unknown one is shown as Slurm says it.

    :param reason: as squeue shows it, details in parentheses or after a comma included
    """
    if not reason:
        return _PLAIN["None"]
    word = re.split(r"[,(]", reason.strip(), maxsplit=1)[0].strip()
    if word in _PLAIN:
        return _PLAIN[word]
    if word.startswith(("QOS", "Assoc", "Max")):
        return _limit(word)
    return Explanation(meaning=f"Slurm says {reason}", sooner="see JOB REASON CODES in squeue(1)")


def _limit(word: str) -> Explanation:
    where = "the QOS" if word.startswith("QOS") else "the account or association"
    scope = "over all of its users" if "Grp" in word else "for one user or job"
    what = next((plain for part, plain in _WHATS if part in word), "something")
    return Explanation(
        meaning=f"{where} limits {what} {scope}, and the limit is reached ({word})",
        sooner="it starts when other jobs end; `sacctmgr show qos` and `sacctmgr show assoc` show the numbers",
    )
