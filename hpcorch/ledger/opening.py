"""Which ledgers may be opened, and updating older ones."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from hpcorch.errors import NotFoundError, RecordError
from hpcorch.ledger.schema.connection import APPLICATION_ID, VERSION, connect_reader, connect_writer, lock_of


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
