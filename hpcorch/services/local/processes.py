"""Local pools as processes: their ids, whether they live, and which of their children executes which task.

What became of the runs of a pool that died without a word follows from that.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import psutil

from hpcorch import tunables
from hpcorch.model.entities import Run, Submission
from hpcorch.model.events import JobObserved
from hpcorch.model.ids import utc_now
from hpcorch.model.job_states import JobState, Witness
from hpcorch.model.processes import FORKED_NAME, RUNTIME, SERVE
from hpcorch.model.states import Backend

_FORKED = re.compile(rf"/memfd:{FORKED_NAME}(\d+) \(deleted\)")


def pool_id(pid: int) -> str:
    """A local pool's id, which stays unique when pids are used again: ``host:pid:start time``."""
    return f"{socket.gethostname()}:{pid}:{int(psutil.Process(pid).create_time())}"


def pool_host(job_id: str) -> str:
    """The host that a pool is or was on."""
    return job_id.rsplit(":", 2)[0]


def pool_process(job_id: str) -> psutil.Process | None:
    """The process of a pool on this host; None if it has ended, or if the pool is another host's."""
    host, pid, started = job_id.rsplit(":", 2)
    if host != socket.gethostname():
        return None
    try:
        process = psutil.Process(int(pid))
        if process.status() == psutil.STATUS_ZOMBIE:  # dead, and its parent does not ask for its exit code
            return None
        return process if abs(process.create_time() - float(started)) <= tunables.PROCESS_START_DRIFT_S else None
    except psutil.NoSuchProcess:
        return None


def pool_is_gone(job_id: str) -> bool:
    """Whether a pool of this host has ended. Of other hosts nothing is known."""
    return pool_host(job_id) == socket.gethostname() and pool_process(job_id) is None


def orphaned(submissions: Iterable[Submission], unfinished: Sequence[Run]) -> list[JobObserved]:
    """What became of unfinished runs whose local pool died without a word: their tasks were stopped with it."""
    now = utc_now()
    return [
        JobObserved(
            submission=submission.submission,
            run=run.run,
            restart=0,
            state=JobState.CANCELLED.value,
            witness=Witness.LOCAL.value,
            reason="the launching process ended before the run did",
            end=now,
        )
        for submission in submissions
        if submission.backend is Backend.LOCAL and submission.job_id and pool_is_gone(submission.job_id)
        for run in unfinished
        if run.submission == submission.submission
    ]


def running_tasks(pool: psutil.Process, submission: int) -> dict[int, psutil.Process]:
    """Task (array index) -> the process that executes it, for tasks of a submission that have not ended."""
    found: dict[int, psutil.Process] = {}
    for child in _children(pool):
        words = _words(child)
        given = dict(pairwise(words))
        if RUNTIME not in words or given.get("--submission") != str(submission):
            continue
        if SERVE in words:
            found.update(_forked_by(child))
        else:
            found[int(given["--task"])] = child
    return found


def _forked_by(server: psutil.Process) -> Iterator[tuple[int, psutil.Process]]:
    """Tasks that a fork server has forked, which have its command line, and each an open file that names it."""
    for child in _children(server):
        with suppress(OSError):  # it has ended
            links = [str(entry.readlink()) for entry in Path(f"/proc/{child.pid}/fd").iterdir()]
            named = filter(None, map(_FORKED.fullmatch, links))
            yield from ((int(found[1]), child) for found in named)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.NoSuchProcess:
        return []


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
