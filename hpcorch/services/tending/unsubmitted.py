"""Runs that look finished but will be submitted again, and runs that Slurm refused for good."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcorch.errors import HpcorchError, RecordError
from hpcorch.journal.control import ControlJournal
from hpcorch.ledger import TROUBLES as LEDGER_TROUBLES
from hpcorch.ledger import Ledger, SweepSummary, find_record
from hpcorch.model.entities import Run
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.states import NOT_FINE, RunState, SubmissionState

if TYPE_CHECKING:
    from hpcorch.services.tending.due import PlannedRetry

CURE = "correct what it names, and launch the sweep again, since refused runs are not submitted again"


def is_unsubmitted(run: Run) -> bool:
    """Whether a run has never been with Slurm or in a local pool, and is not given up."""
    return run.state is RunState.PLANNED and run.submission is None


def retries_to_come(ledger: Ledger, sweep: str) -> dict[int, PlannedRetry]:
    """Run -> its next retry, for runs that are not over yet.

    None of a sweep whose directory is gone or another sweep's: nobody can submit there any more; and none of one
    whose record makes no sense. Cheap where nothing is run again.

    :raises HpcorchError: the ledger is not there, is damaged, or does not answer
    """
    counts = ledger.counts(sweep)
    if not counts.get(RunState.PLANNED) and not _may_fail_again(ledger, sweep, counts):
        return {}
    from hpcorch.services.tending.due import awaited
    from hpcorch.services.tending.sweep_state import read_state

    known = ledger.sweep(sweep).sweep
    try:
        layout = find_record(ledger, known)
    except (RecordError, OSError):
        return {}
    try:
        return {} if layout.aside is not None else awaited(read_state(ledger, ControlJournal(layout, sweep)))
    except LEDGER_TROUBLES:
        raise
    except (HpcorchError, OSError):
        return {}


def _may_fail_again(ledger: Ledger, sweep: str, counts: Mapping[RunState, int]) -> bool:
    return not NOT_FINE.isdisjoint(counts) and any(
        not LaunchKeys.recorded(launch.options).max_retries.is_empty for launch in ledger.launches(sweep)
    )


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
        awaited = retries_to_come(ledger, sweep)
    planned = ledger.runs(sweep, states=[RunState.PLANNED])
    return [run for run in planned if run.submission is None and run.reason and run.run not in awaited]


def _was_refused(ledger: Ledger, sweep: str) -> bool:
    return any(submission.state is SubmissionState.REJECTED for submission in ledger.submissions(sweep))
