"""Running a launch on this machine to its end, with failed runs repeated as often as ``max_retries`` allows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from hpcorch.model.ids import parse_time
from hpcorch.services.local.pool import LocalPool
from hpcorch.services.local.request import LocalRequest
from hpcorch.services.tending.due import awaited
from hpcorch.services.tending.reconcile import Reconciler
from hpcorch.services.tending.sweep_state import read_state


def run_with_retries(reconciler: Reconciler, pool: LocalPool, tick: Callable[[], None]) -> None:
    """Run a pool, then, round after round, those of its runs that failed and have a retry left.

    A round begins when the waits of all its runs are over.

    :param tick: called often, in this thread, to take over and show progress
    :raises hpcorch.services.local.pool.Interrupted: SIGINT or SIGTERM arrived; every run is stopped and recorded
    """
    following: LocalPool | None = pool
    while following is not None:
        following.run(tick)
        reconciler.ingest()
        following = _next_round(reconciler, pool.request)


def _next_round(reconciler: Reconciler, request: LocalRequest) -> LocalPool | None:
    state = read_state(reconciler.ledger, reconciler.journal)
    again = {run: retry for run, retry in awaited(state).items() if run in request.runs}
    if not again:
        return None
    latest = max(parse_time(retry.at) for retry in again.values())
    wait_s = max(0, math.ceil((latest - parse_time(state.now)).total_seconds()))
    return LocalPool.submit(reconciler.journal, replace(request, runs=sorted(again), wait_s=float(wait_s)))
