"""Settings of the controller that decide what a site lets hpcorch do, and the nodes that may take a small job."""

from __future__ import annotations

import re
from datetime import datetime

from hpcorch.quick_dataclasses import dataclass
from hpcorch.slurm.answers.times import parse_utc

_SETTING = re.compile(r"^(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_TOLD_AT = re.compile(r"^Configuration data as of (\S+)", re.MULTILINE)
_NONE = frozenset({"none", "(null)", "n/a", ""})
# Without a mark such as * (does not answer), ~ (switched off) or $ (in maintenance).
_TAKES_JOBS = ("idle", "mix")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """slurm.conf(5) has the meanings.

    :param told_at: the controller's clock when it answered, to the second; None where it does not say
    :param private_data: what users do not see of others: ``jobs``, ``usage``, ``nodes``, ...
    :param preempt_mode: the cluster's own; a partition may have another one
    :param requeues: jobs are requeued unless they ask otherwise; hpcorch's ask for it
    :param over_time_limit_min: minutes for which jobs may go on beyond their limit; None is for ever
    """

    told_at: datetime | None = None
    private_data: frozenset[str] = frozenset()
    preempt_mode: str = "OFF"
    requeues: bool = True
    over_time_limit_min: int | None = 0


def parse_settings(text: str) -> Settings:
    """Read ``scontrol show config``, asked with ``TZ=UTC``; what is missing has Slurm's default."""
    values = dict(_SETTING.findall(text))
    told = _TOLD_AT.search(text)
    return Settings(
        told_at=parse_utc(told[1]) if told else None,
        private_data=frozenset(_words(values.get("PrivateData", ""))),
        preempt_mode=values.get("PreemptMode", "OFF").upper(),
        requeues=values.get("JobRequeue", "1") != "0",
        over_time_limit_min=_minutes(values.get("OverTimeLimit", "0")),
    )


def show_free_nodes(partition: str | None) -> list[str]:
    """List the nodes of a partition (of all for None) with their state and CPUs: allocated, idle, other, all."""
    return ["sinfo", "-h", "-N", *(["-p", partition] if partition else []), "-o", "%N|%t|%C"]


def parse_free_nodes(text: str) -> list[str]:
    """Of :func:`show_free_nodes` those that could start a job of one CPU now, the emptiest first."""
    rows = {tuple(line.strip().split("|")) for line in text.splitlines() if line.count("|") == 2}
    found = [(-_idle(cpus), node) for node, state, cpus in rows if state in _TAKES_JOBS and _idle(cpus)]
    return [node for _, node in sorted(found)]


def parse_nodes(text: str) -> list[str]:
    """Of :func:`show_free_nodes` the names of all."""
    return sorted({line.split("|")[0].strip() for line in text.splitlines() if line.count("|") == 2})


def _idle(cpus: str) -> int:
    counts = cpus.split("/")
    return int(counts[1]) if len(counts) == 4 and counts[1].isdigit() else 0


def _words(text: str) -> list[str]:
    return [word for word in text.lower().split(",") if word not in _NONE]


def _minutes(text: str) -> int | None:
    found = re.match(r"\d+", text)
    return int(found[0]) if found else None
