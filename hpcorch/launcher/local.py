"""Executing a launch on this machine."""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from hpcorch.launcher.config import ignored_locally
from hpcorch.launcher.open_sweep import OpenSweep, PlannedLaunch
from hpcorch.launcher.progress import progress
from hpcorch.model.processes import EXIT_SIGNAL_BASE
from hpcorch.model.states import RunState
from hpcorch.runtime.context.output import to_stderr
from hpcorch.services.actions.local_rounds import run_with_retries
from hpcorch.services.local.pool import Interrupted, LocalPool
from hpcorch.services.local.request import LocalRequest, local_request

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

    from hpcorch.ledger.store import Ledger

log = logging.getLogger(__name__)


def execute_locally(sweep: OpenSweep, planned: PlannedLaunch) -> Sequence[JobReturn]:
    """Run a recorded launch to its end.

    :raises SystemExit: SIGINT or SIGTERM arrived; every run is stopped and recorded. `hpcorch cancel` that only
        ended processes of runs that were over raises it where the sweeper would launch more
    """
    launch = planned.frozen.header.launch
    request = local_request(
        sweep.keys, sweep=sweep.id, launch=launch, runs=[run.run for run in planned.due], asked=planned.asked
    )
    if ignored := ignored_locally(sweep.keys):
        log.info("This machine ignores hydra.launcher keys %s", ", ".join(ignored))
    with sweep.followed() as reconciler, progress(f"sweep {sweep.id}") as display:

        def tick() -> None:
            reconciler.ingest()
            display.show(reconciler.ask(lambda ledger: ledger.counts(sweep.id)))

        try:
            if (pool := _pool(sweep, request)) is not None:
                stopped = run_with_retries(reconciler, pool, tick)
                if stopped and sweep.may_launch_more:
                    to_stderr(f"\nhpcorch: sweep {sweep.id} is cancelled, so no further runs are launched\n")
                    raise SystemExit(EXIT_SIGNAL_BASE + signal.SIGTERM)
        except Interrupted as stop:
            to_stderr(f"\nhpcorch: stopped by {stop}; {reconciler.ask(partial(_what_was_stopped, sweep.id))}\n")
            raise SystemExit(stop.exit_code) from None
        tick()
        return reconciler.ask(partial(sweep.results, planned))


def _pool(sweep: OpenSweep, request: LocalRequest) -> LocalPool | None:
    """The pool for the runs that nobody else has submitted, or given up, since they are on record."""
    with sweep.journal.locked():
        left = sweep.journal.history().untouched(request.runs)
        runs = [run for run in request.runs if run in left]
        return LocalPool.submit(sweep.journal, replace(request, runs=runs)) if runs else None


def _what_was_stopped(sweep: str, ledger: Ledger) -> str:
    if not ledger.counts(sweep).get(RunState.CANCELLED):
        return f"all runs of sweep {sweep} were over, and processes of theirs that stayed have been ended"
    return (
        f"the runs of sweep {sweep} that were not over are CANCELLED. Run them again with:\n  hpcorch retry {sweep}"
    )
