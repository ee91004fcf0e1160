"""Runs that look finished but will be submitted again, and runs that Slurm refused for good."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcorch.errors import HpcorchError
from hpcorch.journal.control import ControlJournal
from hpcorch.ledger import TROUBLES as LEDGER_TROUBLES
from hpcorch.ledger import Ledger, SweepSummary, readable_record
from hpcorch.ledger.reading.refusals import refused_submissions
from hpcorch.model.entities import Run
from hpcorch.model.events import FeedingPlanned
from hpcorch.model.ids import named_runs
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.states import NOT_FINE, Backend, RunState, SubmissionState
from hpcorch.model.value_text import agreeing

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

    layout = readable_record(ledger, ledger.sweep(sweep).sweep)
    if layout is None or layout.aside is not None:
        return {}
    try:
        return awaited(read_state(ledger, ControlJournal(layout, sweep)))
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
    planned = [run for run in ledger.runs(sweep, states=[RunState.PLANNED]) if is_unsubmitted(run) and run.reason]
    others = {*awaited, *left_runs(ledger, summary)}
    return [run for run in planned if run.run not in others]


def left_runs(ledger: Ledger, summary: SweepSummary) -> list[int]:
    """Runs whose launch ended before it submitted them, or is about to: nobody refused them, and nobody feeds them.

    Cheap where nothing is PLANNED.
    """
    sweep = summary.sweep.id
    if not summary.counts.get(RunState.PLANNED):
        return []
    refused = refused_submissions(ledger, sweep)
    firmly = {run for one in ledger.submissions(sweep) if one.submission in refused for run in one.runs}
    fed = {fact.launch for fact in ledger.facts(sweep, FeedingPlanned) if isinstance(fact, FeedingPlanned)}
    planned = ledger.runs(sweep, states=[RunState.PLANNED])
    return [run.run for run in planned if is_unsubmitted(run) and run.launch not in fed and run.run not in firmly]


def left_text(summary: SweepSummary, runs: Sequence[int]) -> str | None:
    """What to do about runs that were left so; None if there are none."""
    sweep = summary.sweep
    submit = "`hpcorch retry {}` runs them" if sweep.backend is Backend.LOCAL else "`hpcorch tend {}` submits them"
    if runs:
        what = f"{named_runs(runs)} {agreeing(len(runs), 'is', 'are')} on record and not submitted"
    elif not summary.counts:
        what, submit = "the sweep has no runs on record", "launch it again"
    else:
        return None
    has_more = summary.runs > len(runs)  # runs that nobody would discard with them
    discard = "" if has_more else f", and `hpcorch rm {sweep.id}` discards what is there"
    return (
        f"{what}: its launch was stopped before it came to that, or is still at it. If it was stopped,"
        f" {submit.format(sweep.id)}{discard}"
    )


def _was_refused(ledger: Ledger, sweep: str) -> bool:
    return any(submission.state is SubmissionState.REJECTED for submission in ledger.submissions(sweep))
