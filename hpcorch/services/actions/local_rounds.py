"""Running a launch on this machine to its end, with failed runs repeated as often as ``max_retries`` allows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from hpcorch.model.ids import parse_time
from hpcorch.services.local.pool import Interrupted, LocalPool
from hpcorch.services.local.request import LocalRequest
from hpcorch.services.tending.due import awaited
from hpcorch.services.tending.reconcile import Reconciler
from hpcorch.services.tending.sweep_state import read_state


def run_with_retries(reconciler: Reconciler, pool: LocalPool, tick: Callable[[], None]) -> bool:
    """Run a pool, then, round after round, those of its runs that failed and have a retry left.

    A round begins when the waits of all its runs are over.

    :param tick: called often, in this thread, to take over and show progress
    :return: whether `hpcorch cancel` asked for the end of the pool when all its runs were over
    :raises Interrupted: SIGINT or SIGTERM arrived; every run is stopped and recorded
    """
    following: LocalPool | None = pool
    while following is not None:
        try:
            following.run(tick)
        except Interrupted as stop:
            if stop.only_processes and not _retries(reconciler, pool.request)[0]:
                return True
            raise
        reconciler.ingest()
        following = _next_round(reconciler, pool.request)
    return False


def _next_round(reconciler: Reconciler, request: LocalRequest) -> LocalPool | None:
    runs, wait_s = _retries(reconciler, request)
    return LocalPool.submit(reconciler.journal, replace(request, runs=runs, wait_s=wait_s)) if runs else None


def _retries(reconciler: Reconciler, request: LocalRequest) -> tuple[list[int], float]:
    """The runs that have a retry left, and in how many seconds the waits of all are over."""
    state = reconciler.ask(lambda ledger: read_state(ledger, reconciler.journal))
    again = {run: retry for run, retry in awaited(state).items() if run in request.runs}
    latest = max((parse_time(retry.at) for retry in again.values()), default=parse_time(state.now))
    return sorted(again), float(max(0, math.ceil((latest - parse_time(state.now)).total_seconds())))
