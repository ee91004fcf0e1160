"""What scontrol prints."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NO_PREEMPTION = ("preempt/none", "(null)", "")
# As the controller reads it (measured on 22.05 and 24.11): in any case, anywhere in the text, the first counts.
_ARRAY_TASKS = re.compile(r"max_array_tasks=(\d*)", re.IGNORECASE)


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
