"""Partitions, GPUs and reservations, as scontrol and sinfo print them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hpcorch.quick_dataclasses import dataclass

_FIELDS = re.compile(r"(\w+)=(\S*)")
_NONE = ("N/A", "(null)", "NONE", "")
# gpu:a100:2, gpu:2, gpu:a100:2(S:0-1), with other generic resources beside it.
_GPUS = re.compile(r"(?:^|,)gpu:(?:([^:,()]+):)?(\d+)(?=[(,]|$)")


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
