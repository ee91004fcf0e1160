"""What an audit of one sweep starts from: the ledger's events of it, and where its files are."""

from __future__ import annotations

import errno
import json
import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import BinaryIO, TypeVar

from hpcorch import tunables
from hpcorch.errors import RecordError
from hpcorch.journal.files import open_regular
from hpcorch.journal.layout import SweepLayout
from hpcorch.ledger import Ledger, find_record
from hpcorch.ledger.reading.directories import unnamed_record
from hpcorch.ledger.writing.rows import attempt_of
from hpcorch.model.entities import Run, Sweep
from hpcorch.model.events import (
    CONTROL_SOURCE,
    AttemptEnded,
    CheckpointRejected,
    CheckpointSaved,
    CodeFrozen,
    EnvironmentFrozen,
    Event,
    Fact,
    LaunchPlanned,
    RunReused,
)
from hpcorch.model.ids import AttemptId
from hpcorch.provenance.environment.record import Environment
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.checkpoint.file import digest_in
from hpcorch.users import stranger

_F = TypeVar("_F", bound=Fact)


class Checkpoints(Enum):
    """Which checkpoints of a run belong to a record."""

    NONE = "none"
    LAST = "last"
    ALL = "all"

    def chosen(self, saved: Sequence[CheckpointSaved]) -> Sequence[CheckpointSaved]:
        """Of those that were saved and not removed, in order, the ones that are meant."""
        return {Checkpoints.NONE: saved[:0], Checkpoints.LAST: saved[-1:], Checkpoints.ALL: saved}[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the record of a sweep is now.

    :param snapshots: the folder of snapshots; None where they are as recorded
    :param checkpoints: which of them should be there
    :param within: the folder that holds all that another user has written, and below which no link is followed;
        None if the record is this user's
    """

    layout: SweepLayout
    snapshots: Path | None = None
    checkpoints: Checkpoints = Checkpoints.ALL
    within: Path | None = None

    def file(self, recorded: str) -> Path:
        """A file that an event names relative to the sweep directory."""
        return self.layout.present(Path(os.path.normpath(self.layout.directory / recorded)))

    def open(self, recorded: str | Path) -> BinaryIO:
        """Open such a file for reading, or one whose present path is given.

        :raises OSError: it cannot be read, or lies outside of the sweep directory
        """
        path = self.file(recorded) if isinstance(recorded, str) else recorded
        if not path.is_relative_to(self.layout.directory):
            raise OSError(errno.EINVAL, "it lies outside of the sweep directory", str(path))
        return open_regular(path, within=self.within)

    def digest(self, recorded: str | Path) -> str:
        """The digest of such a file. Errors as for :meth:`open`."""
        with self.open(recorded) as file:
            return digest_in(file)

    def archive(self, code: CodeFrozen) -> Path:
        """A snapshot."""
        recorded = Path(code.archive)
        return self.layout.present(recorded) if self.snapshots is None else self.snapshots / code.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is stored of one sweep.

    :param runs: those that are audited
    :param is_over: whether all runs of the sweep are over, the others included
    :param place: None if the record is not where it should be
    :param sources: name -> sequence number -> event
    :param read: name -> how many bytes of that journal the ledger has taken over
    :param written: run -> its attempts that wrote a journal
    :param launches: first run -> launch; so for code and environment
    :param reused: run -> whose result it took over
    """

    sweep: Sweep
    runs: Sequence[Run]
    is_over: bool
    place: Place | None
    sources: Mapping[str, Mapping[int, Event]]
    read: Mapping[str, int]
    written: Mapping[int, Sequence[AttemptId]]
    launches: Mapping[int, LaunchPlanned]
    codes: Mapping[int, CodeFrozen]
    environments: Mapping[int, EnvironmentFrozen]
    reused: Mapping[int, RunReused]

    @property
    def indices(self) -> Collection[int]:
        """The indices of the runs that are audited."""
        return {run.run for run in self.runs}

    def facts(self, kind: type[_F], source: str | None = None) -> list[_F]:
        """The facts of one kind, of all sources or of one, in order."""
        chosen = self.sources.values() if source is None else [self.sources.get(source, {})]
        return [event.fact for events in chosen for event in events.values() if isinstance(event.fact, kind)]

    def attempts(self, run: int) -> Sequence[AttemptId]:
        """The attempts of a run that wrote a journal, in order."""
        return self.written.get(run, ())

    def ends(self, run: int) -> list[AttemptEnded]:
        """How the attempts of a run ended, in order. Of one the first end is final."""
        ends = (self.facts(AttemptEnded, str(name)) for name in self.attempts(run))
        return [told[0] for told in ends if told]

    def checkpoints(self, run: int) -> list[CheckpointSaved]:
        """The checkpoints of a run that nobody removed or found broken, in order."""
        names = [str(name) for name in self.attempts(run)]
        saved = [fact for name in names for fact in self.facts(CheckpointSaved, name)]
        gone = {file for fact in saved for file in fact.removed}
        gone |= {fact.file for name in names for fact in self.facts(CheckpointRejected, name)}
        return [fact for fact in saved if fact.file not in gone]

    def launch(self, run: Run) -> LaunchPlanned | None:
        """The launch that a run belongs to."""
        return self.launches.get(run.launch)

    def code(self, run: Run) -> CodeFrozen | None:
        """The code that was frozen for a run; None if none is on record."""
        return self.codes.get(run.launch)

    def environment(self, run: Run) -> EnvironmentFrozen | None:
        """The environment that was frozen for a run; None if none is on record."""
        return self.environments.get(run.launch)

    def read_environment(self, frozen: EnvironmentFrozen) -> Environment | None:
        """The record of an environment; None if it is not there, or cannot be read."""
        if self.place is None:
            return None
        try:
            with self.place.open(frozen.file) as file:
                return Environment.from_plain(json.loads(file.read(tunables.LINE_BYTES)))
        except (OSError, ValueError, AttributeError, RecursionError):
            return None


def gather(ledger: Ledger, sweep: Sweep, runs: Sequence[Run], place: Place | None) -> Evidence:
    """Read all events of a sweep."""
    sources: dict[str, dict[int, Event]] = defaultdict(dict)
    for event in ledger.events(sweep.id):
        sources[event.source][event.seq] = event
    written: dict[int, list[AttemptId]] = defaultdict(list)
    for name in sorted(name for name in map(attempt_of, sources) if name is not None):
        written[name.run].append(name)
    decided = [event.fact for event in sources.get(CONTROL_SOURCE, {}).values()]
    return Evidence(
        sweep=sweep,
        runs=runs,
        is_over=all(state.is_final for state in ledger.counts(sweep.id)),
        place=place,
        sources=sources,
        read=ledger.offsets(sweep.id),
        written=written,
        launches={fact.first_run: fact for fact in decided if isinstance(fact, LaunchPlanned)},
        codes={fact.launch: fact for fact in decided if isinstance(fact, CodeFrozen)},
        environments={fact.launch: fact for fact in decided if isinstance(fact, EnvironmentFrozen)},
        reused={fact.run: fact for fact in decided if isinstance(fact, RunReused)},
    )


def find_place(ledger: Ledger, sweep: Sweep) -> Place | None:
    """Where the record of a sweep is; None if it is gone, or this user may not read it.

    A control journal whose first line is damaged does not say whose it is; it is taken for the sweep's own, since
    another sweep's would say so.
    """
    try:
        return place_of(ledger, sweep)
    except RecordError:
        return None


def place_of(ledger: Ledger, sweep: Sweep) -> Place:
    """As :func:`find_place`, for what cannot be done without the record.

    :raises RecordError: there is no place; the text says what became of the record, and what can be done
    """
    try:
        return _place(find_record(ledger, sweep))
    except RecordError:
        layout = unnamed_record(ledger, sweep)
        if layout is None:
            raise
        return _place(layout)
    except OSError as error:
        raise RecordError(
            f"the record of sweep {sweep.id} cannot be read in {sweep.directory} ({error.strerror}): see that the"
            " folder is yours to read"
        ) from error


def _place(layout: SweepLayout) -> Place:
    return Place(layout=layout, within=None if stranger(layout.state) is None else layout.directory)
