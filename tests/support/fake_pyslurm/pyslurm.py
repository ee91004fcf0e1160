"""A pretended pyslurm over the pretended Slurm (tests/support/fake_slurm): as much of it as hpcorch uses.

It has the real one's defects, and the cluster tests compare what it has with the real one (real_pyslurm.py there).
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import datetime

_FORMAT = "%A|%F|%K|%T|%V|%N|%r|%k"


class PyslurmError(Exception):
    """As pyslurm's."""


class RPCError(PyslurmError):
    """As pyslurm's: the controller said no, or nothing."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A record of the controller: a job, an element, or the elements of an array that wait."""

    id: int
    state: str
    state_reason: str | None
    array_id: int | None = None
    array_task_id: int | None = None
    array_tasks_waiting: str | None = None
    heterogeneous_id: int | None = None
    submit_time: int | None = None
    allocated_nodes: str | None = None
    comment: str | None = None


class Jobs(dict[int, Job]):
    """Records by id."""

    @staticmethod
    def load() -> Jobs:
        done = subprocess.run(["squeue", "-h", "-t", "all", "-o", _FORMAT], capture_output=True, text=True)
        if done.returncode:
            raise RPCError(done.stderr)
        jobs = [_record(*line.split("|", 7)) for line in done.stdout.splitlines()]
        return Jobs({job.id: job for job in jobs})


def _record(
    raw: str, array: str, index: str, state: str, submitted: str, nodes: str, reason: str, comment: str
) -> Job:
    waits = index.isdigit() and state == "PENDING" and raw == array
    return Job(
        id=int(raw),
        state=state,
        state_reason=reason,
        array_id=int(array) if index.isdigit() else None,
        array_task_id=int(index) or None if index.isdigit() and not waits else None,
        array_tasks_waiting=index if waits else None,
        submit_time=int(datetime.fromisoformat(submitted).timestamp()),
        allocated_nodes=nodes or None,
        comment=None if comment == "(null)" else comment,
    )
