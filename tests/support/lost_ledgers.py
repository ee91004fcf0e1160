"""Ways in which a ledger goes away while others use it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from hpcorch.ledger.schema.connection import VERSION


def _cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _turned_into_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _overwritten(path: Path) -> None:
    """Pages of rows are noise; the schema can be read."""
    with closing(sqlite3.connect(path)) as connection:
        roots = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name IN ('runs', 'tallies')"
        ).fetchall()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        for (page,) in roots:
            file.seek((page - 1) * size)
            file.write(b"\xa5" * size)


def _another_database(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")


def _of_a_newer_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")


# Nothing of it is left.
GONE: Mapping[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "deleted with its folder": lambda path: shutil.rmtree(path.parent),
    "moved": lambda path: path.rename(path.with_name("elsewhere.db")),
    "emptied": lambda path: path.write_bytes(b""),
}
# Something is in its place that is no ledger for this program.
SPOILT: Mapping[str, Callable[[Path], object]] = {
    "cut": _cut,
    "text": lambda path: path.write_text("Here was a ledger.\n" * 40),
    "a folder": _turned_into_a_folder,
    "overwritten": _overwritten,
    "another database": _another_database,
    "newer": _of_a_newer_version,
}
LOSSES = {**GONE, **SPOILT}
