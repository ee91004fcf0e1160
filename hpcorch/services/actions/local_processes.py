"""Reaching the processes of a local pool: its tasks are stopped, or asked to save a checkpoint and end."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

import psutil

from hpcorch import tunables
from hpcorch.errors import UsageError
from hpcorch.model.actions import CHECKPOINT_SIGNAL
from hpcorch.model.ids import format_ranges
from hpcorch.services.actions.targets import Target
from hpcorch.services.local.processes import pool_host, pool_process, task_processes


def check_hosts(targets: Sequence[Target]) -> None:
    """Refuse runs that are processes on another host.

    :raises UsageError: some are
    """
    for target in targets:
        host = pool_host(target.submission.job_id or "::")
        if host != socket.gethostname():
            raise UsageError(f"the runs {format_ranges(target.runs)} are processes on {host}: log in there")


def stop_locally(target: Target, *, with_pool: bool) -> None:
    """Stop a pool, or single tasks of it. Tasks that it has not started yet it finds cancelled in the journal.

    One that has ended needs nothing.

    :param with_pool: also what the pool's process would launch next: it ends
    """
    pool = pool_process(target.submission.job_id or "::")
    if pool is None:
        return
    if with_pool:
        pool.send_signal(signal.SIGTERM)
        return
    signalled: set[psutil.Process] = set()
    for _ in range(2):  # the pool may have been about to start one when the request was written
        for task in task_processes(pool, target.submission.submission, target.indices):
            if task not in signalled:
                signalled.add(task)
                _signal_session(task, signal.SIGTERM)
        time.sleep(tunables.LOCAL_START_S)
    _, stubborn = psutil.wait_procs(signalled, timeout=tunables.LOCAL_GRACE_S)
    for task in stubborn:
        _signal_session(task, signal.SIGKILL)


def ask_locally(target: Target) -> None:
    """Ask tasks of a pool to save a checkpoint and end; what they have started hears nothing of it."""
    pool = pool_process(target.submission.job_id or "::")
    if pool is None:
        return
    for task in task_processes(pool, target.submission.submission, target.indices):
        with suppress(psutil.NoSuchProcess):
            task.send_signal(CHECKPOINT_SIGNAL)


def _signal_session(task: psutil.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(task.pid, number)  # each task leads a session, so that all it started is reached
