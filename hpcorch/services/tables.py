"""The ledger's tables for people, as other programs read them."""

from __future__ import annotations

from collections.abc import Sequence

from hpcorch.errors import UsageError
from hpcorch.ledger import Ledger, QueryResult

TABLES = ("sweeps", "runs", "params", "attempts", "checkpoints", "metrics", "submissions", "failures", "events")


def read_table(ledger: Ledger, table: str, *, sweep: str | None = None) -> QueryResult:
    """All rows of a table, or those of one sweep.

    :param sweep: its whole id
    :raises UsageError: there is no such table
    """
    if table not in TABLES:
        raise UsageError(f"there is no table {table!r}: there are {', '.join(TABLES)}")
    condition = "" if sweep is None else " WHERE sweep = '{}'".format(sweep.replace("'", "''"))
    return ledger.query(f"SELECT * FROM v_{table}{condition}")  # noqa: S608 - of names known here


def known_tables(names: Sequence[str]) -> list[str]:
    """The tables that are asked for, each once; all if none is named.

    :raises UsageError: one does not exist
    """
    chosen = list(dict.fromkeys(names)) or list(TABLES)
    for name in chosen:
        if name not in TABLES:
            raise UsageError(f"there is no table {name!r}: there are {', '.join(TABLES)}")
    return chosen
