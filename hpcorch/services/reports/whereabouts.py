"""Where the files of a sweep are, and what there is to be said where they are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hpcorch.errors import RecordError, RecordGoneError
from hpcorch.journal.layout import SweepLayout
from hpcorch.ledger import Ledger, find_record
from hpcorch.ledger.reading.directories import likeliest_directory, removal_of, removed_text
from hpcorch.ledger.schema.cures import adoption
from hpcorch.model.entities import Attempt, Run, Sweep
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.logs.paths import with_present_log


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """Where the files of a sweep are.

    :param layout: of its record; if that is gone, where it was last
    :param gone: what became of it, and what to do; None if all is there
    :param was_removed: whether `hpcorch rm` has removed it
    """

    layout: SweepLayout
    gone: str | None = None
    was_removed: bool = False

    @property
    def in_short(self) -> str | None:
        """What became of it, in a table."""
        if self.gone is None:
            return None
        return "files removed" if self.was_removed else "directory gone"

    def present(self, run: Run) -> Run:
        """A run with the places where its directory and its log are now."""
        if self._is_as_recorded:
            return run
        return with_present_log(replace(run, directory=str(self.layout.present(Path(run.directory)))), self.layout)

    def present_attempt(self, attempt: Attempt) -> Attempt:
        """An attempt with the place where its log is now."""
        return attempt if self._is_as_recorded else with_present_log(attempt, self.layout)

    @property
    def _is_as_recorded(self) -> bool:
        return not self.layout.moves and self.layout.aside is None


def whereabouts(ledger: Ledger, sweep: Sweep) -> Whereabouts:
    """Where the files of a sweep are. That they cannot be read is told by what reads them."""
    removal = removal_of(ledger, sweep.id)
    try:
        layout = find_record(ledger, sweep)
    except RecordGoneError as error:
        last = likeliest_directory(ledger, sweep) if removal is None else Path(removal[0].directory)
        return Whereabouts(layout=SweepLayout(last), gone=str(error), was_removed=removal is not None)
    except (RecordError, OSError):
        return Whereabouts(layout=SweepLayout(likeliest_directory(ledger, sweep)))
    if removal is None:
        return Whereabouts(layout=layout)
    begun = f"{removed_text(sweep.id, *removal)}, but not all: `hpcorch rm {sweep.id}` removes the rest"
    return Whereabouts(layout=layout, gone=begun, was_removed=True)


def missing_text(ledger: Ledger) -> str | None:
    """That a ledger may not have all sweeps, since it stands for one that was lost; None if it does not."""
    if not ledger.is_made_anew():
        return None
    return (
        "this ledger was made anew in the place of one that was lost, and sweeps from before may be missing:"
        f" {adoption(ledger.path)} takes in those whose directories are there"
    )
