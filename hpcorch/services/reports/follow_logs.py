"""Following the output of runs, with news of their attempts from the journals and sometimes from Slurm."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress

from hpcorch import tunables
from hpcorch.errors import RecordError
from hpcorch.ledger import Ledger
from hpcorch.model.entities import Attempt, Run
from hpcorch.model.ids import AttemptId
from hpcorch.services.logs.attempts import LogPart, follow
from hpcorch.services.reports.status import StatusReport, report_known, report_status
from hpcorch.services.selection.selectors import Selector
from hpcorch.services.tending.refresh import RefreshResult, bring_one_up_to_date
from hpcorch.services.tending.steady import SteadyReconciler
from hpcorch.services.tending.wait import Pauses


def follow_runs(
    ledger: Ledger, selector: Selector, *, notify: Callable[[str], None], lines: int | None = None
) -> Iterator[tuple[LogPart, bytes]]:
    """What the selected runs write, until all of them are over.

    :param notify: told, once, each sentence on what could not be looked at
    :param lines: begin with the last so many lines of what is there
    :raises NotFoundError: no sweep or run is selected
    """
    with ExitStack() as stack:
        looks = _Looks(ledger, selector, notify, stack)
        yield from follow(looks.take, looks.pause, lines=lines)


class _Looks:
    """Looks at the runs that were selected when following began, whatever states they get into.

    It goes on by the journals if the ledger goes away.

    :param stack: closes what is opened here
    """

    def __init__(self, ledger: Ledger, selector: Selector, notify: Callable[[str], None], stack: ExitStack) -> None:
        self._ledger = ledger
        self._selector = selector
        self._notify = notify
        self._sweep = ledger.sweep(selector.sweep).sweep
        self._reconciler: SteadyReconciler | None = None
        with suppress(RecordError, OSError):  # its record is gone, so there will be no news
            self._reconciler = stack.enter_context(SteadyReconciler.of(ledger.path, self._sweep, notify))
        self._told: set[str] = set()
        self._pauses = Pauses(first_s=tunables.LOG_PAUSES_S[0], limit_s=tunables.LOG_PAUSES_S[1])
        self._slurm_pauses = Pauses(first_s=tunables.SLURM_PAUSES_S[0], limit_s=tunables.SLURM_PAUSES_S[1])
        self._ask_at = time.monotonic() + self._slurm_pauses.take()

    def take(self) -> Sequence[tuple[Run, Sequence[Attempt], Mapping[AttemptId, int]]]:
        """The runs and their attempts as they are now, and where parts of logs end."""
        status = self._status()
        self._tell(status.refresh)
        if self._selector.states is not None:
            indices = tuple(range(report.run.run, report.run.run + 1) for report in status.runs)
            self._selector = Selector(sweep=status.sweep.summary.sweep.id, ranges=indices)
        ends = self._log_ends()
        return [(report.run, report.attempts, ends) for report in status.runs]

    def _log_ends(self) -> Mapping[AttemptId, int]:
        if self._reconciler is None:
            return self._ledger.log_ends(self._sweep.id)
        return self._reconciler.ask(lambda ledger: ledger.log_ends(self._sweep.id))

    def _status(self) -> StatusReport:
        refresh = self._is_time_to_ask()
        if self._reconciler is None:
            return report_status(self._ledger, self._selector, refresh=refresh)
        done = bring_one_up_to_date(self._reconciler, self._sweep, refresh=refresh)
        return self._reconciler.ask(lambda ledger: report_known(ledger, self._sweep.id, self._selector, done))

    def pause(self, news: bool) -> None:  # noqa: FBT001 - a callback with one argument
        """Wait before the next look: shortly after news, then longer and longer."""
        if news:
            self._pauses.reset()
        time.sleep(self._pauses.take())

    def _is_time_to_ask(self) -> bool:
        if time.monotonic() < self._ask_at:
            return False
        self._ask_at = time.monotonic() + self._slurm_pauses.take()
        return True

    def _tell(self, refresh: RefreshResult) -> None:
        for notice in refresh.notices:
            if notice not in self._told:
                self._told.add(notice)
                self._notify(notice)
