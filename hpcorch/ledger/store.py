"""The ledger: the chained archive of events and the tables folded from them. The one class that speaks SQL."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType

from hpcorch.errors import NotFoundError, RecordError, UnavailableError
from hpcorch.journal.reader import Segment
from hpcorch.ledger.checking.check import Finding
from hpcorch.ledger.reading.answers import Head, SourceState, SweepSummary
from hpcorch.ledger.reading.reading import LAST, LedgerReading
from hpcorch.ledger.reading.sandbox import QueryResult, run_query
from hpcorch.ledger.schema import backup
from hpcorch.ledger.schema.connection import (
    APPLICATION_ID,
    QUERIES,
    VERSION,
    connect_reader,
    connect_writer,
    lock_of,
    transaction,
    translated,
)
from hpcorch.ledger.writing import ingest, projection
from hpcorch.ledger.writing.expansion import Manifests, collector_paused
from hpcorch.model.events import Fact

__all__ = ["LAST", "Head", "Ledger", "SourceState", "SweepSummary"]


# What facts that each have the right form, and not together, make of the code that folds them.
_SENSELESS = (ValueError, LookupError, TypeError, AssertionError, ArithmeticError)


class Ledger(LedgerReading):
    """A ledger that is open, for reading or also for writing. Close it, or use it as a context manager.

    Every method may raise UnavailableError (another process is writing, the disk is full, the file system does
    not answer) and RecordError (the file is damaged). For one thread; other processes may do as they please.
    """

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, write: bool = False, create: bool = False) -> Ledger:
        """Open a ledger. One of an older version is brought up to date first, after a backup beside it.

        :param write: whether events will be stored; a reader cannot change the file
        :param create: make the ledger if there is none; needs ``write``
        :raises NotFoundError: there is no ledger, and none was to be made
        :raises RecordError: it is not a ledger, or a newer version of this program wrote it
        :raises UnavailableError: it cannot be opened now
        """
        place = Path(path)
        try:
            with translated(place):
                return cls(open_connection(place, write=write, create=create), place)
        except OSError as error:
            raise UnavailableError(
                f"the ledger {place} cannot be opened ({error.strerror or error}): check that the folder is yours"
                " and mounted read-write"
            ) from error

    def close(self) -> None:
        """Close the file; harmless when done twice."""
        self._connection.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
        with self._writing():
            try:
                return ingest.ingest(self._connection, sweep, segments, manifests, looked=looked)
            except _SENSELESS as error:
                raise RecordError(
                    f"what the record of sweep {sweep} says makes no sense ({error!r}): somebody else than hpcorch"
                    " wrote to it. The ledger keeps what it has of this sweep"
                ) from error

    def record(self, sweep: str, *facts: Fact) -> None:
        """Store facts about a sweep for which there is no journal, since its directory is gone."""
        with self._writing():
            ingest.record(self._connection, sweep, facts)

    def settle(self, sweep: str, sources: Iterable[str]) -> None:
        """Note that these sources will not grow any more, so that they need not be read again."""
        key = self._key(sweep).key
        with self._writing(), transaction(self._connection):
            self._connection.executemany(QUERIES["settle"], [(key, name) for name in sources])

    def rebuild(self) -> int:
        """Rebuild from the events every table, and what of the schema was altered; how many runs were folded."""
        from hpcorch.ledger.schema.migrations import restore  # those that only read or store need no sqlite-utils

        with self._writing(), transaction(self._connection), collector_paused():
            restore(self._connection)
            return projection.rebuild(self._connection)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        from hpcorch.journal.lock import exclusive  # readers need not load it

        with exclusive(lock_of(self.path)), translated(self.path):
            yield

    # The whole ----------------------------------------------------------------------------------------------

    def query(self, sql: str) -> QueryResult:
        """The answer to a question in SQL, which cannot change anything; ``sql/views.sql`` lists what to ask.

        :raises UsageError: SQLite does not understand it, or it would write
        """
        with translated(self.path):
            connection = connect_reader(self.path)
        with closing(connection):
            return run_query(connection, sql, self.path)

    def back_up(self, target: str | os.PathLike[str]) -> Head:
        """Copy the whole ledger to a new file, mode 0600; the end of the chain in it. Writers wait for seconds.

        :raises UsageError: there is something at ``target`` already
        :raises UnavailableError: it cannot be written
        """
        with translated(self.path):
            backup.back_up(self._connection, Path(target))
        with Ledger.open(target) as copy:
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
        from hpcorch.ledger.checking.examination import examine

        with translated(self.path):
            return examine(self._connection, deep=deep, processes=processes)


def open_connection(path: Path, *, write: bool, create: bool) -> sqlite3.Connection:
    """A connection to a ledger of the present version.

    :raises NotFoundError: there is none, and none was to be made
    :raises RecordError: it is no ledger, or of a newer version
    """
    writer = write and (create or path.exists())
    connection = connect_writer(path) if writer else connect_reader(path)
    try:
        if _version(connection, path) < VERSION:
            if not write:
                connection.close()
                _bring_up_to_date(path)
                return connect_reader(path)
            _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The ledger's version; 0 if the file is empty, as it is if its maker died at once."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != APPLICATION_ID:
        raise RecordError(
            f"{path} is an SQLite file, and not a ledger: name another with --ledger or $HPCORCH_LEDGER"
        )
    if version > VERSION:
        raise RecordError(
            f"the ledger {path} has version {version}, and this hpcorch knows versions up to {VERSION}: use the"
            " hpcorch that wrote it, or a newer one"
        )
    return int(version)


def _bring_up_to_date(path: Path) -> None:
    if path.stat().st_size == 0:
        raise NotFoundError(f"the ledger {path} is empty: run a sweep first")
    with closing(connect_writer(path)) as connection:
        _migrate(connection, path)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    from hpcorch.journal.lock import exclusive
    from hpcorch.ledger.schema.migrations import migrate
    from hpcorch.ledger.writing.projection import rebuild

    with exclusive(lock_of(path)):
        found = _version(connection, path)  # another process may have done it meanwhile
        if found < VERSION:
            migrate(connection, path, found=found, rebuild=rebuild)
