"""Adding sweeps to the ledger that were recorded while it could not be opened."""

from __future__ import annotations

from pathlib import Path

from hpcorch.errors import HpcorchError
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.inbox import announced, taken_over
from hpcorch.journal.layout import SweepLayout
from hpcorch.ledger import Ledger
from hpcorch.model.value_text import counted
from hpcorch.services.tending.reconcile import Reconciler


def take_over(ledger: Path) -> list[str]:
    """Add the announced sweeps to the ledger, which is created if needed.

    :param ledger: the ledger's file
    :return: a sentence on each that could not be taken over; it stays announced, unless its directory is gone
    """
    waiting = announced(ledger)
    if not waiting:
        return []
    troubles = []
    is_made = not ledger.exists()
    try:
        with Ledger.open(ledger, write=True, create=True) as writer:
            for sweep, directory in waiting.items():
                layout = SweepLayout(directory)
                try:
                    if layout.control.exists():
                        Reconciler(writer, ControlJournal(layout, sweep)).ingest()
                        # What records commands of ours needs no ledger; a launcher had one.
                        if is_made and not writer.sweep(sweep).sweep.is_wrapped:
                            writer.note_made_anew()
                    else:
                        troubles.append(
                            f"sweep {sweep} was never read into the ledger, and its record is not in"
                            f" {directory} any more"
                        )
                    taken_over(ledger, sweep)
                except (HpcorchError, OSError) as error:
                    troubles.append(f"sweep {sweep} in {directory} cannot be read into the ledger yet: {error}")
    except (HpcorchError, OSError) as error:
        troubles.append(f"{counted(len(waiting), 'new sweep')} cannot be read into the ledger yet: {error}")
    return troubles
