"""The control journal of a sweep whose directory is gone: what the ledger has of it, and what is added there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hpcorch.errors import RecordGoneError
from hpcorch.journal.control import EMPTY_HISTORY, ControlHistory, ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.ledger import Ledger, find_record
from hpcorch.model.entities import Sweep
from hpcorch.model.events import CONTROL_SOURCE, LEDGER_SOURCE, Fact


class LedgerJournal(ControlJournal):
    """Stands in for a control journal that is gone.

    So runs can be cancelled by the job ids that the ledger has, and closed by what Slurm says of them. Nothing is
    submitted: there is nowhere to work. Nobody needs a lock, since to note the same twice does no harm.

    :param ledger: gives the one that is in use
    :ivar why: what became of the sweep directory, and what to do
    """

    def __init__(self, ledger: Callable[[], Ledger], sweep: Sweep, why: str) -> None:
        super().__init__(SweepLayout(Path(sweep.directory)), sweep.id)
        self._ledger = ledger
        self.why = why

    def history(self, *, until: int | None = None) -> ControlHistory:  # noqa: ARG002 - the ledger has no more
        """What the ledger has taken over of the control journal, and what was added since that is gone."""
        events = self._ledger().events(self.sweep)
        history = EMPTY_HISTORY
        for source in (CONTROL_SOURCE, LEDGER_SOURCE):
            history = history.with_events([event for event in events if event.source == source])
        return history

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Do nothing."""
        yield

    def append(self, *facts: Fact, durable: bool = False) -> None:  # noqa: ARG002 - in the ledger everything is
        """Store facts in the ledger.

        :raises UnavailableError: it cannot be written
        """
        if facts:
            self._ledger().record(self.sweep, *facts)


def open_journal(ledger: Callable[[], Ledger], sweep: Sweep) -> ControlJournal:
    """A sweep's control journal, or what stands in for it where that is gone.

    :param ledger: gives the one that is in use
    :raises RecordError: it is damaged where it says whose it is
    :raises OSError: the sweep directory cannot be read
    """
    try:
        return ControlJournal(find_record(ledger(), sweep), sweep.id)
    except RecordGoneError as error:
        return LedgerJournal(ledger, sweep, str(error))
