"""Acting on one's own sweep by its own record, where others may write to the ledger.

Each member of a group may write to the ledger of a project that it shares. What a ledger says of a sweep is
submitted and executed: `setup` lines of a launch, which code was frozen. So whoever acts on a sweep of theirs there
does it by a ledger of this process alone, made from the sweep's directory, where only its owner writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hpcorch.journal.layout import LEDGER_NAME
from hpcorch.ledger.store import Ledger
from hpcorch.services.recording.moves import record_move
from hpcorch.services.tending.ownership import is_own, is_shared
from hpcorch.services.tending.reconcile import Reconciler, open_reconciler


@contextmanager
def by_own_record(reconciler: Reconciler) -> Iterator[Reconciler]:
    """What to act with on a sweep of this user's. What came of it is in the ledger of all afterwards.

    :param reconciler: with the ledger of all
    :raises UnavailableError: a ledger cannot be made in the folder for temporary files, or that of all is in use
    """
    if not is_shared(reconciler.ledger) or reconciler.is_gone:  # nothing is submitted of a record that is gone
        yield reconciler
        return
    with (
        TemporaryDirectory(prefix="hpcorch-record-") as folder,
        Ledger.open(Path(folder) / LEDGER_NAME, write=True, create=True, alone=True) as ledger,
    ):
        own = Reconciler(ledger, reconciler.journal)
        own.ingest()
        _note_moved(own)
        yield own
    reconciler.ingest()


def _note_moved(own: Reconciler) -> None:
    """Let a ledger find the record of its sweep again, in whatever way it was found."""
    recorded, present = Path(own.ledger.sweep(own.sweep).sweep.directory), own.layout.directory
    if recorded != present:
        record_move(own.ledger, own.sweep, recorded, present)


@contextmanager
def ledger_to_act_by(ledger: Ledger, selector: str) -> Iterator[Ledger]:
    """The ledger by which the selected sweep is acted on: this one, where nobody else may write to it.

    :param selector: a sweep, as :meth:`Ledger.sweep` takes it
    :raises NotFoundError: no sweep is selected
    """
    sweep = ledger.sweep(selector).sweep
    if not is_shared(ledger):
        yield ledger
        return
    reconciler = open_reconciler(ledger, sweep.id)
    if not is_own(sweep, reconciler.layout):  # it is refused by whoever was to act on it
        yield ledger
        return
    with by_own_record(reconciler) as own:
        yield own.ledger
