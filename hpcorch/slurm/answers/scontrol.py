"""What scontrol prints, and what sinfo says of nodes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hpcorch.quick_dataclasses import dataclass

_NO_PREEMPTION = ("preempt/none", "(null)", "")
# As the controller reads it (measured on 22.05 and 24.11): in any case, anywhere in the text, the first counts.
_ARRAY_TASKS = re.compile(r"max_array_tasks=(\d*)", re.IGNORECASE)
_FIELDS = re.compile(r"(\w+)=(\S*)")
_NONE = ("N/A", "(null)", "NONE", "")
# gpu:a100:2, gpu:2, gpu:a100:2(S:0-1), with other generic resources beside it.
_GPUS = re.compile(r"(?:^|,)gpu:(?:([^:,()]+):)?(\d+)(?=[(,]|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class License:
    """One of the cluster's licences and how many of it are taken, by all users."""

    name: str
    total: int
    used: int
    free: int
    reserved: int
    remote: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """The settings of the controller that decide how we submit and observe jobs.

    :param max_array_size: the largest array index is one less
    :param max_array_tasks: tasks that an array may have, whatever their indices (SchedulerParameters); None if it
        is not set
    :param min_job_age_s: seconds for which the controller remembers a job that is over
    :param accounting: sacct has a database to ask
    :param kill_wait_s: seconds from SIGTERM to SIGKILL, whatever ends a job
    :param preempts: jobs of this cluster can be preempted at all
    :param max_job_count: jobs and array elements that the controller keeps in memory, of all users
    :param enforces_limits: the limits of associations and QOS hold
    """

    cluster: str
    version: str
    max_array_size: int
    max_array_tasks: int | None = None
    min_job_age_s: int
    accounting: bool
    kill_wait_s: int = 30
    preempts: bool = False
    max_job_count: int = 10000
    enforces_limits: bool = True

    @property
    def array_tasks(self) -> int:
        """Tasks that one array may have, with indices from 0. At least 1: if that is too many, sbatch says so."""
        size = self.max_array_size
        return max(1, size if self.max_array_tasks is None else min(size, self.max_array_tasks))


def parse_licenses(text: str) -> list[License]:
    """Read ``scontrol -o show licenses``; "No licenses configured" gives none."""
    licenses = []
    for line in text.splitlines():
        values = dict(re.findall(r"(\w+)=(\S*)", line))
        if "LicenseName" in values:
            licenses.append(
                License(
                    name=values["LicenseName"],
                    total=int(values.get("Total", 0)),
                    used=int(values.get("Used", 0)),
                    free=int(values.get("Free", 0)),
                    reserved=int(values.get("Reserved", 0)),
                    remote=values.get("Remote") == "yes",
                )
            )
    return licenses


def parse_config(text: str) -> ClusterConfig:
    """Read ``scontrol show config``; what is missing has Slurm's default (slurm.conf(5))."""
    values = {name: value.strip() for name, value in re.findall(r"^(\w+)[ \t]*=[ \t]*(.*)$", text, re.MULTILINE)}
    storage = values.get("AccountingStorageType", "")
    tasks = _ARRAY_TASKS.search(values.get("SchedulerParameters", ""))
    return ClusterConfig(
        cluster=values.get("ClusterName", ""),
        version=values.get("SLURM_VERSION", ""),
        max_array_size=_leading_number(values.get("MaxArraySize"), 1001),
        max_array_tasks=int(tasks[1] or 0) if tasks else None,
        min_job_age_s=_leading_number(values.get("MinJobAge"), 300),
        accounting=storage.endswith("slurmdbd"),
        kill_wait_s=_leading_number(values.get("KillWait"), 30),
        preempts=values.get("PreemptType", "preempt/none") not in _NO_PREEMPTION,
        max_job_count=_leading_number(values.get("MaxJobCount"), 10000),
        enforces_limits=_enforces_limits(values.get("AccountingStorageEnforce", "")),
    )


def parse_is_preempted(text: str) -> bool | None:
    """Whether ``scontrol -o show job`` shows a job that runs and is being preempted; None if it shows no job."""
    found = dict(re.findall(r"(JobState|PreemptTime)=(\S+)", text))
    if not found:
        return None
    return found.get("JobState") == "RUNNING" and found.get("PreemptTime", "None") != "None"


def _enforces_limits(enforced: str) -> bool:
    """Whether AccountingStorageEnforce has a word that includes limits (slurm.conf(5))."""
    return bool({"limits", "safe", "all"} & set(enforced.lower().split(",")))


def _leading_number(text: str | None, default: int) -> int:
    match = re.match(r"\d+", text or "")
    return int(match[0]) if match else default


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One partition.

    :param max_minutes: the longest time limit of a job; None is without limit
    :param qos: the QOS whose limits hold in it, if it has one
    :param up: jobs may be submitted and start
    :param preempt_mode: what becomes of its jobs when others go first, such as ``REQUEUE`` or ``CANCEL``
    """

    name: str
    default: bool
    up: bool
    max_minutes: int | None
    qos: str | None
    nodes: int
    preempt_mode: str = ""


def show_reservations() -> list[str]:
    """Show the reservations, one a line."""
    return ["scontrol", "-o", "show", "reservation"]


def show_nodes() -> list[str]:
    """List nodes with their generic resources, once for every partition that a node is in."""
    return ["sinfo", "-h", "-N", "-o", "%N|%P|%G"]


def parse_partitions(text: str) -> list[Partition]:
    """Read :func:`hpcorch.slurm.commands.scontrol_partitions`."""
    found = []
    for line in text.splitlines():
        values = dict(_FIELDS.findall(line))
        if "PartitionName" in values:
            qos = values.get("QoS", "")
            found.append(
                Partition(
                    name=values["PartitionName"],
                    default=values.get("Default") == "YES",
                    up=values.get("State") == "UP",
                    max_minutes=_minutes(values.get("MaxTime", "")),
                    qos=None if qos in _NONE else qos,
                    nodes=int(values["TotalNodes"]) if values.get("TotalNodes", "").isdigit() else 0,
                    preempt_mode=values.get("PreemptMode", ""),
                )
            )
    return found


def parse_reservations(text: str) -> list[str]:
    """The names in :func:`show_reservations`."""
    return re.findall(r"^ReservationName=(\S+)", text, re.MULTILINE)


def parse_gpus(text: str) -> dict[str, int]:
    """GPUs by type over all nodes of :func:`show_nodes`; those without a type are under the empty name."""
    nodes = {line.split("|")[0]: line.split("|")[2] for line in text.splitlines() if line.count("|") == 2}
    return _summed(pair for gres in nodes.values() for pair in _GPUS.findall(gres))


def _summed(pairs: Iterable[tuple[str, str]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for kind, count in pairs:
        total[kind] = total.get(kind, 0) + int(count)
    return total


def _minutes(text: str) -> int | None:
    """``2-00:00:00`` or ``01:30:00`` in minutes; None for UNLIMITED."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return days * 1440 + hours * 60 + minutes + (seconds > 0)
