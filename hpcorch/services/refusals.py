"""Sweeps that stay PLANNED since Slurm refused their submission: nobody submits those runs again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from hpcorch.ledger import Ledger, SweepSummary
from hpcorch.model.entities import Run
from hpcorch.model.states import RunState, SubmissionState

CURE = "correct what it names, and launch the sweep again, since nothing submits what was refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Runs that Slurm refused, and that were not submitted since.

    :param reason: of the last of them: Slurm's words, and what they mean
    """

    runs: int
    reason: str


def refusal_of(ledger: Ledger, summary: SweepSummary, awaited: Collection[int] | None = None) -> Refusal | None:
    """What Slurm refused of a sweep for good; None if nothing. Cheap where nothing is PLANNED.

    :param awaited: runs that will be submitted; None looks for them
    """
    refused = refused_runs(ledger, summary, awaited)
    return Refusal(runs=len(refused), reason=refused[-1].reason or "") if refused else None


def refused_runs(ledger: Ledger, summary: SweepSummary, awaited: Collection[int] | None = None) -> list[Run]:
    """The runs that Slurm refused for good, each with Slurm's reason.

    :param awaited: as for :func:`refusal_of`
    """
    sweep = summary.sweep.id
    if not summary.counts.get(RunState.PLANNED) or not _was_refused(ledger, sweep):
        return []
    if awaited is None:
        from hpcorch.services.upcoming import retries_to_come  # few lists come to this

        awaited = retries_to_come(ledger, sweep)
    planned = ledger.runs(sweep, states=[RunState.PLANNED])
    return [run for run in planned if run.submission is None and run.reason and run.run not in awaited]


def _was_refused(ledger: Ledger, sweep: str) -> bool:
    return any(submission.state is SubmissionState.REJECTED for submission in ledger.submissions(sweep))
