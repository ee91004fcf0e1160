"""The ledger's schema, version by version.

Only the events' side is ever migrated. Projections are dropped, created again and folded from the events,
and views are code: so a migration never has to convert a derived table.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database, Migrations

from hpcorch.ledger.schema.backup import back_up
from hpcorch.ledger.schema.connection import (
    APPLICATION_ID,
    QUERIES,
    LedgerConnection,
    journal_of,
    script,
    transaction,
)
from hpcorch.model.ids import utc_now


class Item(NamedTuple):
    """A table, index, view or trigger.

    :ivar form: which of these
    :ivar sql: the statement that made it; None of an index that SQLite makes by itself
    """

    form: str
    table: str
    sql: str | None


MIGRATIONS = Migrations("hpcorch-ledger")


@MIGRATIONS(name="0001_events")
def events(db: Database) -> None:
    """Events, their sources and the chain."""
    _run(db, "events")


@MIGRATIONS(name="0002_projections")
def projections(db: Database) -> None:
    """Sweeps, launches, bases, submissions, runs, attempts, and the views over them."""
    _run(db, "projections")
    _run(db, "views")


@MIGRATIONS(name="0003_digests")
def digests(db: Database) -> None:
    """Each row of runs and attempts carries a digest; events are found by submission."""
    _run(db, "submission_index")
    _run(db, "projections")
    _run(db, "views")


@MIGRATIONS(name="0004_checkpoints")
def checkpoints(db: Database) -> None:
    """Attempts have checkpoints, runs metrics, submissions keepers; what attempts tell often has an index."""
    _run(db, "events_told_often")
    _run(db, "projections")
    _run(db, "views")


@MIGRATIONS(name="0005_keys")
def keys(db: Database) -> None:
    """Runs are found by their keys, and take over results of others."""
    _run(db, "events_by_key")
    _run(db, "projections")
    _run(db, "views")


@MIGRATIONS(name="0006_scripts")
def scripts(db: Database) -> None:
    """Submissions may be scripts of the user's."""
    _run(db, "projections")
    _run(db, "views")


@MIGRATIONS(name="0007_made_anew")
def made_anew(db: Database) -> None:
    """A ledger knows that it stands for one that was lost."""
    _run(db, "made_anew")


@MIGRATIONS(name="0008_packed")
def packed(db: Database) -> None:
    """Submissions may be packed."""
    _run(db, "projections")
    _run(db, "views")


def _run(db: Database, name: str) -> None:
    for statement in script(name):
        db.execute(statement)


def migrate(
    connection: LedgerConnection,
    path: Path | None,
    *,
    found: int,
    rebuild: Callable[[sqlite3.Connection], object],
) -> Path | None:
    """Bring a ledger to the version of this program, in one transaction, and return its backup, if one was due.

    An empty one beside which another's rollback journal lies was made in the place of that, and notes it.

    :param path: None in memory
    :param found: the version that the ledger has; 0 if it is empty
    :param rebuild: folds all projections anew, within the transaction
    """
    backup = _back_up(connection, path, found) if found and path is not None else None
    stands_for_another = not found and path is not None and journal_of(path).exists()
    db = Database(connection)
    with transaction(connection):
        MIGRATIONS.apply(db)
        connection.execute(f"PRAGMA user_version={version_of(db)}")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        note(connection)
        if found:
            rebuild(connection)
        elif stands_for_another:
            connection.execute(QUERIES["note_made_anew"], (utc_now(),))
    return backup


def note(connection: sqlite3.Connection) -> None:
    """Make the table of migrations anew, alike whichever sqlite-utils made it, within the caller's transaction."""
    connection.execute("DROP TABLE IF EXISTS _sqlite_migrations")
    for statement in script("migrations"):
        connection.execute(statement)
    connection.executemany(QUERIES["note_migration"], [(MIGRATIONS.name, name) for name in names()])


@cache
def schema() -> Mapping[str, Item]:
    """Tables, indexes, views and triggers of a ledger of this version, by name."""
    with closing(sqlite3.connect(":memory:", isolation_level=None, factory=LedgerConnection)) as connection:
        migrate(connection, None, found=0, rebuild=lambda _: None)
        return schema_of(connection)


def schema_of(connection: sqlite3.Connection) -> Mapping[str, Item]:
    """Those that a ledger has, without what ``ANALYZE`` makes."""
    return {name: Item(*item) for name, *item in connection.execute(QUERIES["schema"])}


@cache
def names() -> list[str]:
    """The names of all migrations, in order."""
    with closing(sqlite3.connect(":memory:")) as connection:
        return [one.name for one in MIGRATIONS.pending(Database(connection))]


def noted(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """The migrations that a ledger says it has had, in order, each with what is kept of its time: nothing."""
    return connection.execute(QUERIES["migrations"], (MIGRATIONS.name,)).fetchall()


def restore(connection: sqlite3.Connection) -> None:
    """Make indexes, views and triggers anew that are not as they should be, within the caller's transaction."""
    has = schema_of(connection)
    for name, item in schema().items():
        if item.sql is not None and item.form != "table" and has.get(name) != item:
            if name in has:
                connection.execute(f"DROP {has[name].form} {name}")
            connection.execute(item.sql)


def version_of(db: Database) -> int:
    """How many migrations a ledger has had, which is its version."""
    return len(MIGRATIONS.applied(db))


def _back_up(connection: sqlite3.Connection, path: Path, version: int) -> Path:
    number = 0
    while (backup := path.with_name(f"{path.name}.v{version}{f'.{number}' if number else ''}.backup")).exists():
        number += 1
    back_up(connection, backup)
    return backup
