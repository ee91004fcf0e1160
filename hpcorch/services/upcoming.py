"""Which runs that look over are not, since they will be run again; by what the ledger and the record have."""

from __future__ import annotations

from pathlib import Path

from hpcorch.errors import HpcorchError
from hpcorch.journal.reader import locate
from hpcorch.ledger import Ledger
from hpcorch.model.states import RunState
from hpcorch.services.decide import PlannedRetry, awaited
from hpcorch.services.sweep_state import NOT_FINE, budget_of, read_state


def retries_to_come(ledger: Ledger, sweep: str) -> dict[int, PlannedRetry]:
    """Run -> its next try, of runs that nobody may call over yet.

    None of a sweep whose directory is gone or another sweep's: nobody can submit there any more. Cheap where
    nothing is run again.
    """
    counts = ledger.counts(sweep)
    may_fail_again = not NOT_FINE.isdisjoint(counts)
    if not counts.get(RunState.PLANNED) and not may_fail_again:
        return {}
    if not counts.get(RunState.PLANNED) and all(budget_of(batch).is_empty for batch in ledger.batches(sweep)):
        return {}
    try:
        layout = locate(Path(ledger.sweep(sweep).sweep.directory), sweep)
        return {} if layout.aside is not None else awaited(read_state(ledger, layout, sweep))
    except (HpcorchError, OSError):
        return {}
