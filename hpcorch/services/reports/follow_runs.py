"""Waiting for selected runs in another process than the one that launched them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import TypeVar

from hpcorch import tunables
from hpcorch.errors import (
    HpcorchError,
    NotFoundError,
    RecordError,
    RecordGoneError,
    SlurmUnavailableError,
    UnavailableError,
)
from hpcorch.ledger import Ledger
from hpcorch.model.entities import Run
from hpcorch.model.ids import parse_time, utc_now
from hpcorch.model.states import Backend, RunState
from hpcorch.services.json_values import counts_as_plain
from hpcorch.services.reports.status import StatusReport, report_known
from hpcorch.services.selection.selectors import Selector, count_selected, select_runs
from hpcorch.services.tending.reconcile import Reconciler
from hpcorch.services.tending.refresh import RefreshResult
from hpcorch.services.tending.steady import SteadyReconciler
from hpcorch.services.tending.tend import look_after
from hpcorch.services.tending.unsubmitted import retries_to_come
from hpcorch.services.tending.wait import Pauses, looks
from hpcorch.slurm.choose import slurm_client
from hpcorch.slurm.protocol import SlurmClient

_T = TypeVar("_T")


class Follower:
    """Looks at selected runs until all of them are over. Use it as a context manager.

    It goes on by the journals if the ledger goes away.

    :param ledger: open for reading; news is stored through a connection of its own
    :param notify: told, once, each sentence on what cannot be asked
    """

    def __init__(self, ledger: Ledger, selector: Selector, *, notify: Callable[[str], None]) -> None:
        """:raises NotFoundError: no sweep or run is selected"""
        self._ledger = ledger
        self._notify = notify
        self._told: set[str] = set()
        self._sweep = ledger.sweep(selector.sweep).sweep
        self._selector = _pinned(ledger, self._sweep.id, selector)
        self._looked_at = utc_now()
        self._open = ExitStack()
        self._reconciler: SteadyReconciler | None = None

    def __enter__(self) -> Follower:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def sweep(self) -> str:
        """The sweep's id."""
        return self._sweep.id

    def report(self) -> StatusReport:
        """Where the selected runs stand by the last look, whatever states they got into."""
        refresh = RefreshResult(times={self._sweep.id: self._looked_at})
        return self._ask(lambda ledger: report_known(ledger, self._sweep.id, self._selector, refresh))

    def runs(self) -> list[Run]:
        """The selected runs likewise."""
        return self._ask(lambda ledger: select_runs(ledger, self._sweep.id, self._selector))

    def _ask(self, question: Callable[[Ledger], _T]) -> _T:
        return question(self._ledger) if self._reconciler is None else self._reconciler.ask(question)

    def tell(self, *sentences: str) -> None:
        """Tell each of these, once."""
        for sentence in sentences:
            if sentence not in self._told:
                self._told.add(sentence)
                self._notify(sentence)

    def looks(self, *, timeout_s: float | None = None) -> Iterator[Mapping[RunState, int]]:
        """The count of selected runs in each state, look after look; ends after the one that finds them over.

        Journals come first, and Slurm is asked now and then if this user may, who then looks after the sweep, too.
        While Slurm does not answer, the journals carry on. A run that is to be run again is not over.

        :raises UnavailableError: the sweep cannot be followed from here, or the time is over and the runs are not
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            steady = SteadyReconciler.of(self._ledger.path, self._sweep, self.tell)
            self._reconciler = self._open.enter_context(steady)
            yield from self._until_over(self._looks(steady), deadline)
            self._look_for_processes(steady)
        except (RecordError, OSError) as error:
            counts = self._counts()
            if not self._is_over(counts):
                raise UnavailableError(f"sweep {self._sweep.id} cannot be followed: {error}") from error
            yield counts

    def _look_for_processes(self, reconciler: Reconciler) -> None:
        """Find out whether a process stays when all runs are over: most leave at once, and Slurm is asked once."""
        if self._sweep.backend is not Backend.SLURM:
            return
        pauses = Pauses(first_s=tunables.LOG_PAUSES_S[0], limit_s=tunables.LOG_PAUSES_S[1])
        until = time.monotonic() + tunables.JOB_STAYS_S + tunables.LOG_PAUSES_S[1]
        with suppress(UnavailableError):
            while reconciler.ask_slurm(slurm_client()) and time.monotonic() < until:
                time.sleep(pauses.take())

    def _looks(self, reconciler: Reconciler) -> Iterator[Mapping[RunState, int]]:
        local = self._sweep.backend is Backend.LOCAL
        client = slurm_client()

        def look() -> Mapping[RunState, int]:
            try:
                reconciler.look_local() if local else reconciler.ingest()
                self._looked_at = utc_now()
            except UnavailableError as error:  # the sweep's record does not answer
                self.tell(str(error))
            counts = self._counts()
            if reconciler.why_gone is not None:
                if local and not self._is_over(counts):  # only its journals would tell
                    raise RecordGoneError(reconciler.why_gone)
                self.tell(reconciler.why_gone)
            return counts

        def ask() -> None:
            if not local:
                self._look_after(reconciler, client)

        return looks(look, ask)

    def _look_after(self, reconciler: Reconciler, client: SlurmClient) -> None:
        try:
            sentences = look_after(reconciler, client).sentences
        except HpcorchError as error:
            if reconciler.is_gone and not isinstance(error, SlurmUnavailableError):
                raise  # neither journals nor Slurm will tell
            sentences = [f"the journals alone are followed for now: {error}"]
        self.tell(*sentences)

    def _until_over(
        self, found: Iterator[Mapping[RunState, int]], deadline: float | None
    ) -> Iterator[Mapping[RunState, int]]:
        for counts in found:
            yield counts
            if self._is_over(counts):
                return
            if deadline is not None and time.monotonic() >= deadline:
                states = ", ".join(f"{count} {state}" for state, count in counts_as_plain(counts).items())
                raise UnavailableError(f"timed out; these runs are not over: {states}")

    def _counts(self) -> Mapping[RunState, int]:
        return self._ask(lambda ledger: count_selected(ledger, self._sweep.id, self._selector))

    def _is_over(self, counts: Mapping[RunState, int]) -> bool:
        open_ = {state for state, count in counts.items() if count and not state.is_final}
        if open_ - {RunState.PLANNED} or (open_ and self._is_about_to_be_submitted()):
            return False
        again = self._ask(lambda ledger: retries_to_come(ledger, self._sweep.id))
        return not again or not any(run.run in again for run in self.runs())

    def _is_about_to_be_submitted(self) -> bool:
        """Whether a planned run may just be on its way. Otherwise it was refused, or its launcher died."""
        launches = self._ask(lambda ledger: ledger.launches(self._sweep.id))
        latest = max((launch.planned_at for launch in launches), default=None)
        if latest is None or datetime.now(timezone.utc) - parse_time(latest) > timedelta(
            seconds=tunables.LAUNCH_SUBMITS_S
        ):
            return False
        return any(run.state is RunState.PLANNED and run.reason is None for run in self.runs())


def _pinned(ledger: Ledger, sweep: str, selector: Selector) -> Selector:
    """The same selection by index where it was by state: states change while we look."""
    chosen = select_runs(ledger, sweep, selector)
    if selector.states is None:
        return selector
    if not chosen:
        raise NotFoundError(f"no selected run of sweep {sweep} is in one of these states now")
    return Selector(sweep=sweep, ranges=tuple(range(run.run, run.run + 1) for run in chosen))
