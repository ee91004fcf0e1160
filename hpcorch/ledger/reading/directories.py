"""Where the record of a sweep is now, whatever became of the folder in which it was made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hpcorch.errors import ForeignFileError, RecordError, RecordGoneError
from hpcorch.journal.layout import STATE_DIR, Moves, SweepLayout, moved, snapshots_folder
from hpcorch.journal.reader import locate, owner
from hpcorch.ledger.reading.reading import LedgerReading
from hpcorch.model.entities import Sweep
from hpcorch.model.events import DirectoryMoved, DirectoryRemoved
from hpcorch.model.ids import parse_time
from hpcorch.users import stranger


def find_record(ledger: LedgerReading, sweep: Sweep) -> SweepLayout:
    """The record of a sweep, in the directory where it was made, or where that is now.

    A directory inside the project is looked for at its recorded path, and then at the same place below the folder
    that has the ledger: so it is found when the whole project was moved. What else was moved,
    ``hpcorch ledger moved`` says.

    :raises RecordGoneError: it is in none of these places; the text says what became of it, and what to do
    :raises RecordError: it is damaged where it says whose it is
    :raises OSError: a directory cannot be read
    """
    recorded = Path(sweep.directory)
    found = ""
    for ways in _ways(ledger, sweep):
        for moves in ways:
            try:
                return replace(locate(moved(recorded, moves), sweep.id), moves=moves)
            except RecordGoneError as error:
                found = str(error) if moves is ways[0] else found
    raise RecordGoneError(what_became_of(ledger, sweep, found))


def readable_record(ledger: LedgerReading, sweep: Sweep) -> SweepLayout | None:
    """As :func:`find_record`; None if it is gone, damaged, or cannot be read now."""
    try:
        return find_record(ledger, sweep)
    except (RecordError, OSError):
        return None


def unnamed_record(ledger: LedgerReading, sweep: Sweep) -> SweepLayout | None:
    """A record where that of a sweep is looked for, which is damaged so that it does not say whose it is.

    It is taken for the sweep's own, since another sweep's would say so. None if there is none.
    """
    recorded = Path(sweep.directory)
    for ways in _ways(ledger, sweep):
        for moves in ways:
            layout = SweepLayout(moved(recorded, moves), moves=moves)
            if layout.control.exists() and owner(layout) is None:
                return layout
    return None


def likeliest_directory(ledger: LedgerReading, sweep: Sweep) -> Path:
    """Where a sweep directory that is gone would be, by all that is known of moves."""
    *_, ways = _ways(ledger, sweep)
    return moved(Path(sweep.directory), ways[0])


def find_own_record(ledger: LedgerReading, sweep: Sweep) -> SweepLayout:
    """As :func:`find_record`, to read objects from it: unpickling executes what whoever wrote them wants.

    :raises ForeignFileError: it is another user's
    :raises RecordGoneError: it is not there
    """
    layout = find_record(ledger, sweep)
    owner = stranger(layout.state)
    if owner is not None:
        raise ForeignFileError(
            f"sweep {sweep.id} is {owner}'s: to read the objects that it returned would execute what {owner} wrote."
            " The tables of hpcorch.Ledger and `hpcorch collect --json` have its values without that"
        )
    return layout


def _ways(ledger: LedgerReading, sweep: Sweep) -> Iterator[Sequence[Moves]]:
    """What may have been moved, the likeliest first. The ledger is asked for more only where that is not enough."""
    project = project_moved(ledger, sweep)
    if project is None:
        yield [()]
    else:
        yield [(project,), ()] if _is_moved(*project) else [(), (project,)]
    told = recorded_moves(ledger, sweep.id)
    if told and project is None:
        yield [told]
    elif told and project is not None:
        both = (*told, project)
        yield [both, told] if _is_moved(*project) else [told, both]


def recorded_moves(ledger: LedgerReading, sweep: str) -> Moves:
    """The folders of a sweep that were moved, as the ledger was told."""
    facts = ledger.facts(sweep, DirectoryMoved)
    return tuple((Path(fact.old), Path(fact.new)) for fact in facts if isinstance(fact, DirectoryMoved))


def project_moved(ledger: LedgerReading, sweep: Sweep) -> tuple[Path, Path] | None:
    """The project's recorded folder and the one that has the ledger, where that is another."""
    state = ledger.path.absolute().parent
    recorded = Path(sweep.project)
    return (recorded, state.parent) if state.name == STATE_DIR and state.parent != recorded else None


def _is_moved(old: Path, new: Path) -> bool:
    """Whether a project was moved: it is gone at its recorded place, and more than a ledger is at the other."""
    return not (old / STATE_DIR).exists() and snapshots_folder(new / STATE_DIR).is_dir()


def removal_of(ledger: LedgerReading, sweep: str) -> tuple[DirectoryRemoved, str] | None:
    """Who removed a sweep's files with `hpcorch rm`, and when; None if nobody has."""
    for event in ledger.events_of(sweep, DirectoryRemoved):
        assert isinstance(event.fact, DirectoryRemoved)
        return event.fact, event.time
    return None


def what_became_of(ledger: LedgerReading, sweep: Sweep, found: str) -> str:
    """What is known of a sweep directory that is not there, and what can be done.

    :param found: what is in its place
    """
    removal = removal_of(ledger, sweep.id)
    if removal is not None:
        return f"{removed_text(sweep.id, *removal)}; its results and metrics stay in the ledger"
    cancel = f", and `hpcorch cancel {sweep.id}` ends runs that are not over" if ledger.is_open(sweep.id) else ""
    return (
        f"the directory of sweep {sweep.id} is gone: {found}. If it was moved, `hpcorch ledger moved OLD NEW` says"
        f" where to; if it was deleted, only the ledger has what is known of it{cancel}"
    )


def removed_text(sweep: str, fact: DirectoryRemoved, time: str) -> str:
    """Who removed a sweep's files, and when."""
    when = parse_time(time).astimezone().strftime("%Y-%m-%d %H:%M")
    return f"the files of sweep {sweep} were removed on {when} by {fact.user}"
