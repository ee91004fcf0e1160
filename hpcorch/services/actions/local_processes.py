"""Reaching the processes of a local pool: its tasks are stopped, or asked to save a checkpoint and end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import psutil

from hpcorch import tunables
from hpcorch.errors import UsageError
from hpcorch.model.actions import CHECKPOINT_SIGNAL
from hpcorch.model.entities import Run, Submission
from hpcorch.model.ids import format_ranges
from hpcorch.services.actions.targets import Target
from hpcorch.services.local.processes import pool_host, pool_process, running_tasks
from hpcorch.services.local.task import signal_session


def staying_locally(runs: Iterable[Run], submissions: Mapping[int, Submission]) -> frozenset[int]:
    """The runs that are over and whose process on this host is still there."""
    over: dict[int, list[Run]] = {}
    for run in runs:
        if run.state.is_final and run.submission is not None:
            over.setdefault(run.submission, []).append(run)
    found: set[int] = set()
    for number, ended in over.items():
        submission = submissions[number]
        pool = pool_process(submission.job_id or "::")
        tasks = {} if pool is None else running_tasks(pool, number)
        found.update(run.run for run in ended if submission.index_of(run.run) in tasks)
    return frozenset(found)


def check_hosts(targets: Sequence[Target]) -> None:
    """Refuse runs that are processes on another host.

    :raises UsageError: some are
    """
    for target in targets:
        host = pool_host(target.submission.job_id or "::")
        if host != socket.gethostname():
            raise UsageError(f"the runs {format_ranges(target.runs)} are processes on {host}: log in there")


def stop_locally(target: Target, *, with_pool: bool) -> None:
    """Stop a pool, or single tasks of it, once the request is in the journal; a pool that has ended needs nothing.

    The pool looks there before and after it starts a task, and ends one that nobody else can have seen.

    :param with_pool: also what the pool's process would launch next: it ends
    """
    pool = pool_process(target.submission.job_id or "::")
    if pool is None:
        return
    if with_pool:
        with suppress(psutil.NoSuchProcess):
            pool.send_signal(signal.SIGTERM)
        return
    tasks = _tasks(target, pool)
    for task in tasks:
        signal_session(task.pid, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(tasks, timeout=tunables.LOCAL_GRACE_S)
    for task in stubborn:
        signal_session(task.pid, signal.SIGKILL)


def ask_locally(target: Target) -> None:
    """Ask tasks of a pool to save a checkpoint and end; what they have started hears nothing of it."""
    pool = pool_process(target.submission.job_id or "::")
    if pool is None:
        return
    for task in _tasks(target, pool):
        with suppress(psutil.NoSuchProcess):
            task.send_signal(CHECKPOINT_SIGNAL)


def _tasks(target: Target, pool: psutil.Process) -> list[psutil.Process]:
    running = running_tasks(pool, target.submission.submission)
    return [running[index] for index in target.indices if index in running]
