"""Which runs that look over, or forgotten, are not: they will be submitted, by what is on record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch.errors import HpcorchError
from hpcorch.journal.reader import locate
from hpcorch.ledger import Ledger
from hpcorch.model.retries import budget_of
from hpcorch.model.states import NOT_FINE, RunState

if TYPE_CHECKING:
    from hpcorch.services.decide import PlannedRetry


def retries_to_come(ledger: Ledger, sweep: str) -> dict[int, PlannedRetry]:
    """Run -> its next try, of runs that nobody may call over yet.

    None of a sweep whose directory is gone or another sweep's: nobody can submit there any more. Cheap where
    nothing is run again.
    """
    counts = ledger.counts(sweep)
    if not counts.get(RunState.PLANNED) and not _may_fail_again(ledger, sweep, counts):
        return {}
    from hpcorch.services.decide import awaited
    from hpcorch.services.sweep_state import read_state

    try:
        layout = locate(Path(ledger.sweep(sweep).sweep.directory), sweep)
        return {} if layout.aside is not None else awaited(read_state(ledger, layout, sweep))
    except (HpcorchError, OSError):
        return {}


def _may_fail_again(ledger: Ledger, sweep: str, counts: Mapping[RunState, int]) -> bool:
    return not NOT_FINE.isdisjoint(counts) and any(not budget_of(batch).is_empty for batch in ledger.batches(sweep))
