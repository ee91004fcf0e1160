"""SQL by name: the files in ``sql/`` and the queries in them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

_FOLDER = Path(__file__).parent / "sql"
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def script(name: str) -> Iterator[str]:
    """The statements of one file. (``executescript`` would commit the transaction that they belong in.)"""
    statement = ""
    for line in (_FOLDER / f"{name}.sql").read_text(encoding="utf-8").splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _named() -> dict[str, str]:
    parts = _NAME.split((_FOLDER / "queries.sql").read_text(encoding="utf-8"))
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


QUERIES = _named()
