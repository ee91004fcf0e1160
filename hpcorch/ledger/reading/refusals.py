"""Which sweeps Slurm refused, so that nothing of them has run or will."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcorch.model.events import FeedingPlanned, SubmissionRejected
from hpcorch.model.states import RunState, SubmissionState

if TYPE_CHECKING:
    from hpcorch.ledger.reading.reading import LedgerReading


def refused_submissions(ledger: LedgerReading, sweep: str) -> set[int]:
    """Submissions that Slurm refused for good."""
    rejected = (fact for fact in ledger.facts(sweep, SubmissionRejected) if isinstance(fact, SubmissionRejected))
    return {fact.submission for fact in rejected if not (fact.limited or fact.absent)}


def was_refused(ledger: LedgerReading, sweep: str) -> bool:
    """Whether Slurm refused all of a sweep for good. Cheap where any run is not PLANNED."""
    if set(ledger.counts(sweep)) != {RunState.PLANNED}:
        return False
    submissions = ledger.submissions(sweep)
    rejected = {one.submission for one in submissions if one.state is SubmissionState.REJECTED}
    return (
        bool(submissions)
        and len(rejected) == len(submissions)
        and rejected == refused_submissions(ledger, sweep)
        and not ledger.facts(sweep, FeedingPlanned)
    )
