"""Following a submitted sweep to its end at low cost: journals first, one squeue for all arrays, growing pauses."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from hpcorch import tunables
from hpcorch.errors import HpcorchError, UnavailableError
from hpcorch.model.states import WITH_SLURM, RunState
from hpcorch.services.tending.steady import SteadyReconciler
from hpcorch.services.tending.tend import look_after
from hpcorch.services.tending.tend_result import TendResult
from hpcorch.services.tending.unsubmitted import retries_to_come
from hpcorch.slurm.client import SlurmClient


@dataclass(slots=True, kw_only=True)
class Pauses:
    """Growing pauses with jitter, so that many waiting launchers do not ask in step.

    :param first_s: seconds before the second time
    :param limit_s: seconds that a pause grows up to
    """

    first_s: float
    limit_s: float
    factor: float = 1.5
    _next_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._next_s = self.first_s

    def take(self) -> float:
        """The next pause in seconds: between half and all of the grown length."""
        length = self._next_s
        self._next_s = min(length * self.factor, self.limit_s)
        return length * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret

    def reset(self) -> None:
        """Something happened: begin with short pauses again."""
        self._next_s = self.first_s


def looks(look: Callable[[], Mapping[RunState, int]], ask: Callable[[], None]) -> Iterator[Mapping[RunState, int]]:
    """What ``look`` finds, again and again, with growing pauses; shortly after news they begin small again.

    :param look: reads the journals; the count of runs in each state
    :param ask: asks the scheduler and looks after the sweep, at longer intervals, and soon once no run is alive by
        the journals: whoever goes on looking then waits for what only asking brings
    """
    journal_pauses = Pauses(first_s=tunables.JOURNAL_PAUSES_S[0], limit_s=tunables.JOURNAL_PAUSES_S[1])
    slurm_pauses = Pauses(first_s=tunables.SLURM_PAUSES_S[0], limit_s=tunables.SLURM_PAUSES_S[1])
    ask_at = time.monotonic() + slurm_pauses.take()
    before: Mapping[RunState, int] = {}
    while True:
        began = time.monotonic()
        counts = look()
        looked_s = time.monotonic() - began
        yield counts
        if counts != before:
            journal_pauses.reset()
            before = counts
            if not is_any_alive(counts):
                ask_at = time.monotonic()
        time.sleep(max(journal_pauses.take(), looked_s * tunables.PAUSE_PER_LOOK))
        if time.monotonic() >= ask_at:
            ask()
            ask_at = time.monotonic() + slurm_pauses.take()


def is_any_alive(counts: Mapping[RunState, int]) -> bool:
    """Whether the scheduler has a run, or may have it."""
    return any(count for state, count in counts.items() if state in WITH_SLURM)


def wait_for_runs(
    reconciler: SteadyReconciler,
    client: SlurmClient,
    progress: Callable[[Mapping[RunState, int]], None],
    tell: Callable[[TendResult], None],
) -> None:
    """Return when every run of the sweep that was submitted is in a final state, and none is to be run again.

    Looks after the sweep meanwhile. One that Slurm refused, or never got, stays PLANNED and is not waited for.
    While Slurm does not answer, the journals carry on, and so they do if the ledger goes away.

    :param progress: called with the count of runs in each state whenever it may have changed
    :param tell: called with what came of looking after the sweep
    """

    def look() -> Mapping[RunState, int]:
        try:
            reconciler.ingest()
        except UnavailableError as error:  # the sweep's record cannot be read, or no ledger can be had
            tell(TendResult(sweep=reconciler.sweep, troubles=(error,)))
        return reconciler.ask(lambda ledger: ledger.counts(reconciler.sweep))

    def ask() -> None:
        try:
            tell(look_after(reconciler, client))
        except UnavailableError:  # asked again after the next, longer pause; the journals tell of good ends
            pass
        except HpcorchError as error:
            tell(TendResult(sweep=reconciler.sweep, troubles=(error,)))

    for counts in looks(look, ask):
        progress(counts)
        if not is_any_alive(counts) and not reconciler.ask(
            lambda ledger: retries_to_come(ledger, reconciler.sweep)
        ):
            return
