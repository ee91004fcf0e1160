"""Taking in sweeps from their directories. They hold all events, so that a lost ledger can be made again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hpcorch import tunables
from hpcorch.errors import HpcorchError, NotFoundError, RecordGoneError
from hpcorch.journal.access import access_in
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.project_search import served_folder
from hpcorch.journal.reader import creation_of
from hpcorch.ledger import Ledger, find_record, readable_record
from hpcorch.model.events import SweepCreated
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.adoption.search import PassedOver, find_records
from hpcorch.services.recording.moves import record_move
from hpcorch.services.tending.reconcile import Reconciler
from hpcorch.users import stranger

_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """A sweep that the ledger has now.

    :param is_new: it did not have it before
    """

    sweep: str
    directory: Path
    runs: int
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """The result of taking in sweeps.

    :param is_made: whether the ledger was made for it
    :param sweeps: in order of their ids
    """

    ledger: Path
    is_made: bool
    sweeps: Sequence[Adopted]
    passed_over: Sequence[PassedOver]

    @property
    def exit_code(self) -> int:
        """1 if something has to be put right before all can be taken in."""
        return int(any(one.is_fault for one in self.passed_over))

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "ledger": str(self.ledger),
            "made": self.is_made,
            "sweeps": [
                {"sweep": one.sweep, "directory": str(one.directory), "runs": one.runs, "new": one.is_new}
                for one in self.sweeps
            ],
            "passed_over": [
                {"path": str(one.path), "reason": one.reason, "fault": one.is_fault} for one in self.passed_over
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """A record of this user's, as its first fact describes it."""

    layout: SweepLayout
    created: SweepCreated

    @property
    def is_at_home(self) -> bool:
        """Whether it is where it was written, under this or another name of the same folder."""
        return self.is_in(Path(self.created.directory))

    def is_in(self, directory: Path) -> bool:
        """Whether its directory is this one, under whatever name."""
        with suppress(OSError):
            return self.layout.directory.samefile(directory)
        return False


def adopt(ledger: Path, folders: Sequence[Path] = ()) -> Adoption:
    """Take this user's sweeps below some folders into a ledger, which is made if it is not there.

    Each sweep is stored as a whole. To do it again, or twice at once, does no harm.

    :param folders: by default the project's folder
    :raises NotFoundError: a folder is not there, or there is no ledger, and nothing to take into one
    :raises RecordError: what is in the ledger's place is none
    :raises UnavailableError: the ledger cannot be written
    """
    chosen = [folder.absolute() for folder in folders] or [served_folder(ledger.absolute(), Path.cwd())]
    for folder in chosen:
        if not folder.is_dir():
            raise NotFoundError(f"{folder} is not a folder: name folders that sweep directories are in")
    passed_over: list[PassedOver] = []
    sweeps: list[Adopted] = []
    found = sorted(
        _own_records(chosen, ledger, passed_over), key=lambda one: (one.created.sweep, not one.is_at_home)
    )
    is_made = not ledger.exists()
    if is_made and not found:
        raise _nothing_below(chosen, passed_over)
    with Ledger.open(ledger, write=True, create=True) as writer:
        for record in found:
            done = _take_in(writer, record)
            passed_over.append(done) if isinstance(done, PassedOver) else sweeps.append(done)
        writer.note_adopted()
    return Adoption(ledger=ledger, is_made=is_made, sweeps=sweeps, passed_over=passed_over)


def _nothing_below(folders: Sequence[Path], passed_over: Sequence[PassedOver]) -> NotFoundError:
    where = ", ".join(map(str, folders))
    others = "".join(f"; {one.path} was passed over: {one.reason}" for one in passed_over[:_NAMED])
    return NotFoundError(
        f"no sweep directory of yours is below {where}, so no ledger is made: name the folders that they are in"
        f"{others}"
    )


def _own_records(folders: Iterable[Path], ledger: Path, passed_over: list[PassedOver]) -> Iterator[_Record]:
    """The records that may be taken in, each once; what was passed over is noted."""
    seen: set[Path] = set()
    sharing = access_in(ledger.parent).group
    for folder in folders:
        for found in find_records(folder, ledger.absolute(), most=tunables.ADOPTION_FOLDERS):
            if isinstance(found, SweepLayout):
                if found.state in seen:
                    continue
                seen.add(found.state)
            one = _own_record(found, sharing) if isinstance(found, SweepLayout) else found
            if isinstance(one, PassedOver):
                passed_over.append(one)
            else:
                yield one


def _own_record(layout: SweepLayout, sharing: int | None) -> _Record | PassedOver:
    """:param sharing: the group that shares the ledger, whose members' sweeps are taken in like one's own"""
    other = stranger(layout.state) or stranger(layout.control)
    if other is not None and (sharing is None or access_in(layout.state).group != sharing):
        return PassedOver(path=layout.state, reason=f"it belongs to {other}")
    try:
        created = creation_of(layout)
    except OSError as error:
        return PassedOver(path=layout.control, reason=f"it cannot be read ({error.strerror})", is_fault=True)
    if created is None:
        reason = "its first line is damaged, so that nothing says which sweep it is of: restore it from a backup"
        return PassedOver(path=layout.control, reason=reason, is_fault=True)
    return _Record(layout=layout, created=created)


def _take_in(writer: Ledger, record: _Record) -> Adopted | PassedOver:
    layout, sweep = record.layout, record.created.sweep
    try:
        is_new = not writer.offsets(sweep)
        known = None if is_new else readable_record(writer, writer.sweep(sweep).sweep)
        if known is not None and not record.is_in(known.directory):
            reason = f"it is a copy of sweep {sweep}, which is in {known.directory}"
            return PassedOver(path=layout.state, reason=reason)
        Reconciler(writer, ControlJournal(layout, sweep)).ingest()
        _note_place(writer, record)
        runs = sum(writer.counts(sweep).values())
    except (HpcorchError, OSError) as error:
        return PassedOver(path=layout.state, reason=f"sweep {sweep} cannot be taken in: {error}", is_fault=True)
    return Adopted(sweep=sweep, directory=layout.directory, runs=runs, is_new=is_new)


def _note_place(writer: Ledger, record: _Record) -> None:
    """See that the record is found again, where it was moved since it was written."""
    sweep = writer.sweep(record.created.sweep).sweep
    try:
        find_record(writer, sweep)
    except RecordGoneError:
        record_move(writer, sweep.id, Path(sweep.directory), record.layout.directory)
