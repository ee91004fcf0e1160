"""Named SQL, the chain's hash and the errors that users read."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from hpcorch.errors import RecordError, UnavailableError
from hpcorch.ledger.schema.connection import QUERIES, VERSION, script, translated
from hpcorch.ledger.schema.migrations import MIGRATIONS, schema
from hpcorch.ledger.writing import ingest as chain


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for name in ("events", "submission_index", "events_told_often", "projections", "views", "made_anew"):
            for statement in script(name):
                connection.execute(statement)
        MIGRATIONS.ensure_migrations_table(Database(connection))
        yield connection


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_every_named_query_fits_the_schema(database: sqlite3.Connection, name: str) -> None:
    database.execute(f"EXPLAIN {QUERIES[name]}", [None] * QUERIES[name].count("?"))


def test_version_that_readers_expect_is_the_number_of_migrations() -> None:
    assert len(MIGRATIONS.pending(_Empty())) == VERSION  # type: ignore[arg-type]


def test_a_schema_that_was_changed_has_a_new_version() -> None:
    """Checking a ledger compares its schema with this: one of an earlier version must have been migrated."""
    listed = "\n".join(f"{name} {item}" for name, item in sorted(schema().items()))
    assert (VERSION, hashlib.sha256(listed.encode()).hexdigest()[:16]) == (8, "c3722d30793da860")


class _Empty:
    """As much of a database as Migrations.pending asks of one without migrations."""

    def __getitem__(self, name: str) -> _Empty:
        return self

    def exists(self) -> bool:
        return False


def test_each_part_of_an_event_changes_its_hash() -> None:
    whole = ("sweep", "control", 3, 5, "kind", "2026", "{}")
    changed = [
        (*whole[:at], other, *whole[at + 1 :])
        for at, other in enumerate(("x", "launch-0", 4, None, "k", "2027", "[]"))
    ]
    hashes = {chain.link(chain.GENESIS, *parts) for parts in (whole, *changed)}  # type: ignore[arg-type]
    hashes.add(chain.link(b"\1" * 32, *whole))
    assert len(hashes) == len(changed) + 2


@pytest.mark.parametrize(
    ("error", "expected", "word"),
    [
        (sqlite3.OperationalError("database is locked"), UnavailableError, "another process"),
        (sqlite3.OperationalError("database or disk is full"), UnavailableError, "quota"),
        (sqlite3.OperationalError("disk I/O error"), UnavailableError, "mounted"),
        (sqlite3.OperationalError("attempt to write a readonly database"), UnavailableError, "yours"),
        (sqlite3.DatabaseError("file is not a database"), RecordError, "ledger adopt"),
    ],
)
def test_errors_of_sqlite_name_the_ledger_and_a_likely_cause(
    error: Exception, expected: type[Exception], word: str
) -> None:
    with pytest.raises(expected, match=word) as raised, translated(Path("/project/.hpcorch/ledger.db")):
        raise error
    assert "/project/.hpcorch/ledger.db" in str(raised.value)
    assert raised.value.__cause__ is error


def test_no_permission_is_asked_for_where_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").touch()
    with pytest.raises(UnavailableError) as raised, translated(tmp_path / "ledger.db"):
        raise sqlite3.OperationalError("unable to open database file")
    assert "did not answer" in str(raised.value)
    assert "chmod" not in str(raised.value)
