"""The ledger: the chained archive of events and the tables folded from them. The one class that speaks SQL."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING

from hpcorch import tunables
from hpcorch.errors import RecordError
from hpcorch.journal.reader import Segment
from hpcorch.ledger.file import LedgerFile
from hpcorch.ledger.reading.answers import Head, SweepSummary
from hpcorch.ledger.reading.reading import LAST, LedgerReading
from hpcorch.ledger.reading.sandbox import QueryResult, TooLongError, run_query
from hpcorch.ledger.schema import backup
from hpcorch.ledger.schema.connection import (
    QUERIES,
    VERSION,
    connect_reader,
    transaction,
    translated,
    version_in,
)
from hpcorch.ledger.schema.cures import replacement
from hpcorch.ledger.writing import ingest, projection
from hpcorch.ledger.writing.expansion import Manifests, collector_paused
from hpcorch.model.events import Fact
from hpcorch.model.ids import utc_now

if TYPE_CHECKING:
    from hpcorch.ledger.checking.check import Finding

__all__ = ["LAST", "Head", "Ledger", "SweepSummary"]


# What facts that each have the right form, and not together, make of the code that folds them.
_SENSELESS = (ValueError, LookupError, TypeError, AssertionError, ArithmeticError)


class Ledger(LedgerReading):
    """A ledger, for reading or also for writing. Its file is open only while a method reads or writes it.

    Every method may raise UnavailableError (another process is writing, the disk is full, the file system does
    not answer) and RecordError (the file is damaged). For one thread; other processes may do as they please.
    """

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, write: bool = False, create: bool = False, alone: bool = False
    ) -> Ledger:
        """A ledger that is there. One of an older version is brought up to date first, after a backup beside it.

        :param write: whether events will be stored; a reader cannot change the file
        :param create: make the ledger if there is none; needs ``write``
        :param alone: nobody else writes to it meanwhile, as to a copy or a part of a bundle
        :raises NotFoundError: there is no ledger, and none was to be made
        :raises RecordError: it is not a ledger, or a newer version of this program wrote it
        :raises UnavailableError: it cannot be opened now
        """
        file = LedgerFile(Path(path), write=write, create=create, alone=alone)
        with file.opened():
            return cls(file)

    @classmethod
    @contextmanager
    def unchanged(cls, path: Path, *, alone: bool = False) -> Iterator[Ledger]:
        """A ledger to look at, such as a backup or another user's. It stays as it is: of one of an older version a
        copy is brought up to date.

        :param alone: as for :meth:`open`, which says what is raised, too
        """
        if not _is_of_an_older_version(path):
            yield cls.open(path, alone=alone)
            return
        with TemporaryDirectory(prefix="hpcorch-ledger-") as folder:
            copy = Path(folder) / path.name
            with translated(path), closing(connect_reader(path)) as connection:
                backup.copy(connection, copy)
            yield cls.open(copy, alone=True)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to close."""

    # Writing ------------------------------------------------------------------------------------------------

    def ingest(
        self, sweep: str, segments: Iterable[Segment], manifests: Manifests, *, looked: bool = True
    ) -> ingest.IngestResult:
        """Store what is new in segments of a sweep's journals, and bring the tables up to date.

        Order, partition and repetition of segments make no difference to the tables. If this fails or is killed,
        what was stored is whole, and doing it again completes it.

        :param sweep: the sweep's id
        :param manifests: what a launch froze: :func:`hpcorch.ledger.manifests_in` of the sweep directory
        :param looked: note that the sweep was looked at now: what is known of it is as old as that
        :raises OSError: as the segments' own reading does
        :raises RecordError: a manifest is not what was planned, or the facts do not make sense together
        """
        with self._file.opened() as connection:
            try:
                return ingest.ingest(connection, sweep, segments, manifests, looked=looked)
            except _SENSELESS as error:
                raise RecordError(
                    f"what the record of sweep {sweep} says makes no sense ({error!r}): somebody else than hpcorch"
                    " wrote to it. The ledger keeps what it has of this sweep"
                ) from error

    def record(self, sweep: str, *facts: Fact) -> None:
        """Store facts about a sweep for which there is no journal, since its directory is gone."""
        with self._file.opened() as connection:
            ingest.record(connection, sweep, facts)

    def note_made_anew(self) -> None:
        """Note that this ledger stands for one that was lost, so that sweeps may be missing."""
        with self._file.opened() as connection, transaction(connection):
            connection.execute(QUERIES["note_made_anew"], (utc_now(),))

    def note_adopted(self) -> None:
        """Note that what was missing has been searched for."""
        with self._file.opened() as connection, transaction(connection):
            connection.execute(QUERIES["forget_made_anew"])

    def is_made_anew(self) -> bool:
        """Whether this ledger stands for one that was lost, and nobody has searched for what is missing."""
        with self._file.opened() as connection:
            return connection.execute(QUERIES["made_anew"]).fetchone() is not None

    def rebuild(self) -> int:
        """Rebuild from the events every table, and what of the schema was altered; how many runs were folded.

        Journals are read from their beginnings at the next look, which adds what is missing.
        """
        from hpcorch.ledger.schema.migrations import (  # those that only read or store need no sqlite-utils
            note,
            restore,
        )

        with self._file.opened() as connection, transaction(connection), collector_paused():
            restore(connection)
            note(connection)
            for query in ("forget_offsets", "forget_looks"):
                connection.execute(QUERIES[query])
            return projection.rebuild(connection)

    # The whole ----------------------------------------------------------------------------------------------

    def query(self, sql: str) -> QueryResult:
        """The answer to a question in SQL, which cannot change anything; ``sql/views.sql`` lists what to ask.

        One that takes long is asked of a copy in the folder for temporary files, so that nobody waits for it.

        :raises UsageError: SQLite does not understand it, or it would write
        """
        with suppress(TooLongError), LedgerFile(self.path, alone=self._file.is_alone).opened() as connection:
            return run_query(connection, sql, self.path, limit_s=tunables.LEDGER_QUERY_S)
        with self._snapshot() as copy, closing(connect_reader(copy)) as connection:
            return run_query(connection, sql, self.path)

    def back_up(self, target: str | os.PathLike[str]) -> Head:
        """Copy the whole ledger to a new file; the end of the chain in it. Writers wait for seconds.

        The copy has mode 0600; in a folder of hpcorch's that a group shares 0660, as all files there.

        :raises UsageError: there is something at ``target`` already
        :raises UnavailableError: it cannot be written
        """
        with self._file.opened() as connection:
            backup.back_up(connection, Path(target))
        with Ledger.open(target, alone=True) as copy:
            return copy.head()

    def check(self, *, deep: bool = False, processes: int = 1) -> list[Finding]:
        """What is wrong with this ledger: file, chain and tables. Empty if nothing is wrong.

        Always: SQLite's own check of the file, every hash of the chain, a fresh fold of each sweep as a whole (its
        launches, bases, submissions, counts), and the digest that each row of runs and attempts got when it was
        folded. So what was altered by a fault or by hand shows, unless that hand made the digest anew as well.
        Deep: a fresh fold of all runs too, which proves each row from its events, whoever wrote it.

        It looks at a copy in the folder for temporary files ($TMPDIR), so writers wait for seconds at most. At most
        :data:`hpcorch.ledger.checking.check.MAX_FINDINGS` are listed.

        :param processes: how many may share the work; above 1 the main module must be safe to import
            (:mod:`multiprocessing`, "spawn")
        """
        from hpcorch.ledger.checking.check import Finding, FindingKind, can_be_mended  # few commands check a ledger
        from hpcorch.ledger.checking.examination import examine

        with translated(self.path), self._snapshot() as copy:
            found = examine(copy, deep=deep, processes=processes)
        if self._file.is_alone or all(map(can_be_mended, found)):
            return found
        return [*found, Finding(kind=FindingKind.FILE, text=f"to go on, {replacement(self.path)}")]

    @contextmanager
    def _snapshot(self) -> Iterator[Path]:
        with TemporaryDirectory(prefix="hpcorch-ledger-") as folder:
            copy = Path(folder) / "ledger.db"
            with self._file.opened() as connection:
                backup.copy(connection, copy)
            yield copy


def _is_of_an_older_version(path: Path) -> bool:
    with suppress(OSError):  # opening it says what is wrong
        found = version_in(path)
        return found is not None and found < VERSION
    return False
