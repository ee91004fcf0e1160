"""Opening the ledger's file, SQLite's errors as ours, and SQL by name from the files in ``sql/``.

Rollback journaling: WAL needs shared memory, so it breaks as soon as a second host opens the file
(https://sqlite.org/wal.html, section 1). ``synchronous=FULL`` because an event that was reported as stored
must survive a power cut.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import NotFoundError, RecordError, UnavailableError
from hpcorch.journal.access import make_folder, open_new

# The version that this program reads and writes: how many migrations there are. Kept here, since readers do not
# load the migrations.
VERSION = 6

# "hpcl": what file(1) and this module tell a ledger from other SQLite files by.
APPLICATION_ID = 0x6870636C


def connect_writer(path: Path) -> sqlite3.Connection:
    """A connection that may write; the file and its folder are made if missing, for their owner alone."""
    make_folder(path.parent)
    os.close(open_new(path, os.O_RDWR))
    connection = _connect(path, "rw", tunables.LEDGER_WRITER_WAIT_S)
    with _closed_on_error(connection):
        for pragma in ("journal_mode=DELETE", "synchronous=FULL", f"cache_size=-{tunables.LEDGER_CACHE_KIB}"):
            connection.execute(f"PRAGMA {pragma}")
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write.

    :raises NotFoundError: there is no such file
    :raises UnavailableError: a writer died in the middle and this user may not put that right
    """
    if not path.exists():
        raise NotFoundError(
            f"there is no ledger at {path}: run a sweep first, or name another with --ledger or $HPCORCH_LEDGER"
        )
    try:
        return _reader(path)
    except sqlite3.OperationalError as error:
        if not _interrupted_writer(error, path):
            raise
    _roll_back(path)
    return _reader(path)


def _reader(path: Path) -> sqlite3.Connection:
    connection = _connect(path, "ro", tunables.LEDGER_READER_WAIT_S)
    with _closed_on_error(connection):
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("PRAGMA query_only=ON")
    return connection


def _connect(path: Path, mode: str, wait_s: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=wait_s, isolation_level=None
    )


@contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _interrupted_writer(error: sqlite3.OperationalError, path: Path) -> bool:
    """Whether reading failed because a dead writer's journal must be rolled back first, which takes writing."""
    busy = "locked" in str(error)
    return not busy and path.with_name(path.name + "-journal").exists()


def _roll_back(path: Path) -> None:
    from hpcorch.journal.lock import exclusive

    with (
        exclusive(lock_of(path), wait_s=tunables.LEDGER_READER_WAIT_S),
        closing(connect_writer(path)) as connection,
    ):
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def lock_of(path: Path) -> Path:
    """The lock file that writers of this ledger hold."""
    return path.with_name(path.name + ".lock")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Within the block, either everything is stored or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into this project's, naming the ledger and a likely cause."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(error, path) from error


def _translate(error: sqlite3.Error, path: Path) -> UnavailableError | RecordError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return UnavailableError(f"the ledger {path} is in use by another process ({text}): try again in a moment")
    if "full" in text:
        return UnavailableError(f"the ledger {path} cannot grow ({text}): free some space or quota and try again")
    if isinstance(error, sqlite3.OperationalError) and any(
        word in text for word in ("unable to open", "disk I/O", "readonly", "read-only")
    ):
        return UnavailableError(
            f"the ledger {path} cannot be used ({text}): check that it and its folder are yours and that the file"
            " system is mounted read-write and answers"
        )
    return RecordError(
        f"the ledger {path} is damaged or not a ledger ({text}): keep a copy of the file, then run"
        " `hpcorch ledger check`; sweep directories hold all events and can be read into a new ledger"
    )


_FOLDER = Path(__file__).parent / "sql"
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


# What stands in a script as `{name ARGUMENT}`. No text of JSON is replaced: there quotation marks are escaped.
_PHRASES = {
    # A plain form in which nan is null, and an infinity the number that overflows to it.
    "with_numbers": """replace(replace(replace({0}, '{{"$float":"nan"}}', 'null'),"""
    """ '{{"$float":"inf"}}', '9e999'), '{{"$float":"-inf"}}', '-9e999')""",
    # The value of a plain form, where SQLite has it.
    "value_of": """coalesce(json_extract({0}, '$."$int"'), json_extract({{with_numbers {0}}}, '$'))""",
}
_PHRASE = re.compile(r"\{(\w+) ([^{}]+)\}")


def _spelt_out(text: str) -> str:
    while _PHRASE.search(text):
        text = _PHRASE.sub(lambda found: _PHRASES[found[1]].format(found[2]), text)
    return text


def script(name: str) -> Iterator[str]:
    """The statements of one file. (``executescript`` would commit the transaction that they belong in.)"""
    statement = ""
    for line in _spelt_out((_FOLDER / f"{name}.sql").read_text(encoding="utf-8")).splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _named() -> dict[str, str]:
    parts = _NAME.split((_FOLDER / "queries.sql").read_text(encoding="utf-8"))
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


QUERIES = _named()
