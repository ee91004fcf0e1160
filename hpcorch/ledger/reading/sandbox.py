"""Users' own SQL queries, which cannot change anything."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from typing import Any

from hpcorch.errors import UsageError
from hpcorch.journal.files import steady
from hpcorch.ledger.schema.connection import translated
from hpcorch.quick_dataclasses import dataclass

_READING = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
# Of SQLite's virtual machine, between two looks at the clock: about a millisecond.
_STEPS = 100_000
_DESCRIBING = frozenset({"table_info", "table_xinfo", "table_list", "index_list", "index_info"})


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """Column names, and rows of int, float, str, bytes or None."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class TooLongError(Exception):
    """The query took longer than it may."""


def run_query(connection: sqlite3.Connection, sql: str, path: Path, *, limit_s: float = math.inf) -> QueryResult:
    """Run one statement that reads, on a connection for this alone.

    :raises TooLongError: it took longer than ``limit_s``
    :raises UsageError: SQLite does not understand it, it would write, or it is more than one statement
    """
    deadline = steady() + limit_s
    connection.set_authorizer(_authorize)
    connection.set_progress_handler(lambda: steady() > deadline, _STEPS)
    try:
        cursor = connection.execute(sql)
        found = cursor.fetchall()
    except (sqlite3.Error, sqlite3.Warning) as error:
        if isinstance(error, sqlite3.OperationalError) and steady() > deadline:
            raise TooLongError from None
        if "malformed" in str(error):
            with translated(path):
                raise
        raise UsageError(f"the query was not answered: {error}{_hint(str(error), path)}") from error
    if cursor.description is None:
        raise UsageError("the query asks nothing: give one SELECT statement")
    return QueryResult(columns=tuple(column[0] for column in cursor.description), rows=found)


def _authorize(
    action: int, first: str | None, _second: str | None, _database: str | None, _view: str | None
) -> int:
    if action in _READING or (action == sqlite3.SQLITE_PRAGMA and first in _DESCRIBING):
        return sqlite3.SQLITE_OK
    # Table-valued functions such as json_each declare themselves in memory so; the file is open for reading only.
    if action == sqlite3.SQLITE_UPDATE and first == "sqlite_master":
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _hint(text: str, path: Path) -> str:
    if "not authorized" in text:
        return f"; queries only read the ledger {path}; only events change it"
    if "no such table" in text or "no such column" in text:
        return "; `SELECT name, sql FROM sqlite_schema` lists tables and views with their columns"
    return ""
