"""Executing a rerun that is on record: on Slurm as any launch is submitted, or here to its end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hpcorch.ledger import Ledger
from hpcorch.model.entities import Launch
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.states import RunState
from hpcorch.services.actions.local_rounds import run_with_retries
from hpcorch.services.local.pool import LocalPool
from hpcorch.services.rerun.record import FrozenRerun, record_rerun
from hpcorch.services.site.project_profile import load_profile, project_at
from hpcorch.services.submission.arrays import ArrayPlan
from hpcorch.services.submission.feeding import Feeder
from hpcorch.services.submission.request import Request
from hpcorch.services.submission.resubmission import Resubmission
from hpcorch.services.submission.submit import SubmittedRuns
from hpcorch.services.tending.reconcile import Reconciler
from hpcorch.services.tending.steady import SteadyReconciler
from hpcorch.services.tending.tend import tend
from hpcorch.slurm.protocol import SlurmClient


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunResult:
    """What was submitted of a rerun.

    :param waiting: runs that are submitted when Slurm takes more
    :param notices: sentences on what else was done about the sweep, and could not be
    :param is_completed: whether every run ran here and has completed
    """

    rerun: FrozenRerun
    submitted: tuple[SubmittedRuns, ...] = ()
    waiting: int = 0
    notices: tuple[str, ...] = ()
    is_completed: bool = False

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        done = [{"launch": one.launch, "runs": list(one.runs), "job_id": one.job_id} for one in self.submitted]
        return {
            "sweep": self.rerun.sweep,
            **self.rerun.plan.as_plain(),
            "code_unchanged": self.rerun.is_unchanged,
            "submitted": done,
            "waiting": self.waiting,
        }


def submit_rerun(ledger: Ledger, rerun: FrozenRerun, client: SlurmClient) -> RerunResult:
    """Put a rerun on record and give it to Slurm.

    :param ledger: open for writing; it takes the new sweep
    :raises RecordError: it cannot be recorded
    :raises SubmissionRejectedError: Slurm does not take it
    :raises UnavailableError: Slurm does not answer
    """
    reconciler = _recorded(ledger, rerun, client)
    profile = load_profile(project_at(Path.cwd()), os.environ)
    arrays: list[SubmittedRuns] = []
    waiting = 0
    try:
        for launch, again in zip(ledger.launches(rerun.sweep), rerun.plan.launches, strict=True):
            feeder = Feeder(
                journal=reconciler.journal,
                launch=launch.first_run,
                client=client,
                profile=profile,
                keys=again.keys,
                request=partial(_request, reconciler, launch),
            )
            fed = feeder.feed(again.asked, alone=not arrays)
            arrays += fed.arrays
            waiting += fed.waiting
    finally:
        reconciler.ingest()
    notices = tend(reconciler, client, hurry=True).sentences
    return RerunResult(rerun=rerun, submitted=tuple(arrays), waiting=waiting, notices=tuple(notices))


def run_rerun_here(
    ledger: Ledger,
    rerun: FrozenRerun,
    client: SlurmClient,
    tick: Callable[[Mapping[RunState, int]], None],
    tell: Callable[[str], None],
) -> RerunResult:
    """Put a rerun on record and run it on this machine, to its end.

    :param tick: called often with the count of runs in each state
    :param tell: told what becomes of a ledger that goes away meanwhile
    :raises hpcorch.services.local.pool.Interrupted: SIGINT or SIGTERM arrived; every run is stopped and recorded
    """
    recorded = _recorded(ledger, rerun, client)
    pools = [
        LocalPool.submit(
            recorded.journal,
            replace(_again(recorded, launch, again.indices, again.keys), asked=again.asked).local_request(),
        )
        for launch, again in zip(ledger.launches(rerun.sweep), rerun.plan.launches, strict=True)
    ]
    with SteadyReconciler(ledger.path, recorded.journal, tell) as reconciler:

        def counts() -> Mapping[RunState, int]:
            reconciler.ingest()
            return reconciler.ask(lambda ledger: ledger.counts(rerun.sweep))

        for pool in pools:
            run_with_retries(reconciler, pool, lambda: tick(counts()))
        return RerunResult(rerun=rerun, is_completed=set(counts()) == {RunState.COMPLETED})


def _recorded(ledger: Ledger, rerun: FrozenRerun, client: SlurmClient) -> Reconciler:
    journal = record_rerun(rerun, ledger=ledger.path, client=client)
    reconciler = Reconciler(ledger, journal)
    reconciler.ingest()
    return reconciler


def _request(reconciler: Reconciler, launch: Launch, portion: ArrayPlan) -> Request:
    again = _again(reconciler, launch, portion.runs, portion.keys)
    return replace(again.request(os.environ), most_tasks=portion.most_tasks)


def _again(reconciler: Reconciler, launch: Launch, runs: Sequence[int], keys: LaunchKeys) -> Resubmission:
    return Resubmission(layout=reconciler.layout, launch=launch, runs=runs, keys=keys)
