"""Setting an earlier sweep's record aside, so that a new sweep can use its directory."""

from __future__ import annotations

from hpcorch.errors import RecordError
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.reader import owner
from hpcorch.journal.sweep_folder import set_aside
from hpcorch.ledger.store import Ledger
from hpcorch.model.states import RunState, SubmissionState
from hpcorch.model.value_text import agreeing
from hpcorch.services.recording.sweep import owned
from hpcorch.services.tending.reconcile import Reconciler


def make_room(layout: SweepLayout, ledger: Ledger, *, reuse: bool) -> None:
    """Set the record of an earlier sweep, which is in the directory, aside if its runs are over.

    That of a sweep whose submissions Slurm all refused is set aside without asking.

    :param ledger: open for writing; first takes over what is new of the earlier sweep
    :param reuse: set the record of any sweep aside whose runs are over
    :raises RecordError: the earlier sweep keeps the directory, or another one has it by now
    :raises UnavailableError: another process decides about it at this moment
    """
    earlier = owner(layout)
    if earlier is None:  # another sweep is being created there at this moment
        raise owned(layout)
    journal = ControlJournal(layout, earlier)
    Reconciler(ledger, journal).ingest()
    if not reuse and not _was_refused(journal):
        raise owned(layout)
    alive = sum(
        n for state, n in ledger.counts(earlier).items() if not state.is_final and state is not RunState.PLANNED
    )
    if alive:
        are = agreeing(alive, "is", "are")
        raise RecordError(
            f"the sweep directory {layout.directory} belongs to sweep {earlier}; {alive} of its runs {are} not over"
            " and would go on writing there: wait for them or cancel them, or choose another hydra.sweep.dir"
        )
    with journal.locked():
        if owner(layout) != earlier:  # another launch was quicker
            raise owned(layout)
        set_aside(layout, journal.confirm)


def _was_refused(journal: ControlJournal) -> bool:
    """Whether the sweep that owns the directory got no further than a refusal; then there is nothing to lose."""
    submissions = journal.history().submissions.values()
    # One without any submission may be about to make its first.
    return bool(submissions) and all(one.state is SubmissionState.REJECTED for one in submissions)
