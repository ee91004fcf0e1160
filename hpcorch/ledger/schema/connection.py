"""Opening the ledger's file, SQLite's errors as ours, and SQL by name from the files in ``sql/``.

Rollback journaling: WAL needs shared memory, so it breaks as soon as a second host opens the file
(https://sqlite.org/wal.html, section 1). ``synchronous=FULL`` because an event that was reported as stored
must survive a power cut.
"""

from __future__ import annotations

import os
import re
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import RecordError, UnavailableError
from hpcorch.journal.access import make_folder, open_new
from hpcorch.journal.files import open_regular, undelegated
from hpcorch.journal.lock import Hold
from hpcorch.ledger.schema.cures import permission, replacement
from hpcorch.ledger.schema.delegations import give_back, is_delegated

# The version that this program reads and writes: how many migrations there are. Kept here, since readers do not
# load the migrations.
VERSION = 8

# "hpcl": what file(1) and this module tell a ledger from other SQLite files by.
APPLICATION_ID = 0x6870636C

# Of an SQLite file: its form, version and application (https://sqlite.org/fileformat2.html, section 1.3).
_SQLITE = b"SQLite format 3\0"
_HEADER = struct.Struct(">16s44xI4xI")


class LedgerConnection(sqlite3.Connection):
    """A connection to a ledger.

    :ivar hold: of the ledger's lock; None of a copy that nobody else sees, and of who may only read
    :ivar path: of the ledger
    """

    hold: Hold | None = None
    path: Path


def connect_writer(path: Path, hold: Hold | None = None, *, alone: bool = False) -> LedgerConnection:
    """A connection that may write; the file and its folder are made if missing, for their owner alone.

    :param hold: of the ledger's lock; None if nobody else opens it at this time
    :param alone: nobody else ever opens it: nothing is left beside it
    :raises LockLostError: another process may have the ledger by now
    """
    make_folder(path.parent)
    _check_regular(path)
    os.close(undelegated(lambda direct: open_new(path, os.O_RDWR | direct)))
    connection = _connect(path, "rw", tunables.LEDGER_WRITER_WAIT_S, hold)
    with _closed_on_error(connection):
        give_back(path)
        # TRUNCATE: a writer that was believed dead and goes on must not remove another's journal by its name.
        journal = "DELETE" if alone else "TRUNCATE"
        for pragma in (f"journal_mode={journal}", "synchronous=FULL", f"cache_size=-{tunables.LEDGER_CACHE_KIB}"):
            connection.execute(f"PRAGMA {pragma}")
    return connection


def _check_regular(path: Path) -> None:
    """Refuse what SQLite would wait for, or read without end.

    :raises RecordError: it is a folder, a FIFO, a device or a socket
    """
    if path.exists() and not path.is_file():
        raise RecordError(f"{path} is not a regular file, and so no ledger: move it away, or name another one")


def connect_reader(path: Path, hold: Hold | None = None) -> LedgerConnection:
    """A connection that cannot write, to a file that is there.

    :param hold: of the ledger's lock: what a writer left half done is undone first, as far as this user may write
    :raises RecordError: it is no regular file
    :raises LockLostError: another process may have the ledger by now
    """
    _check_regular(path)
    connection = _connect(path, "ro" if hold is None else "rw", tunables.LEDGER_READER_WAIT_S, hold)
    with _closed_on_error(connection):
        if hold is not None:
            give_back(path)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("PRAGMA query_only=ON")
    return connection


def _connect(path: Path, mode: str, wait_s: float, hold: Hold | None) -> LedgerConnection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=wait_s,
        isolation_level=None,
        factory=LedgerConnection,
    )
    connection.hold = hold
    connection.path = path
    if hold is not None:
        with _closed_on_error(connection):
            hold.confirm()  # it has opened the file, and read nothing yet
    return connection


@contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def journal_of(path: Path) -> Path:
    """SQLite's rollback journal of a ledger."""
    return path.with_name(path.name + "-journal")


def version_in(path: Path) -> int | None:
    """The version of a ledger, as the file's header has it, without opening it as a ledger; None if it is none.

    :raises OSError: it is not there, or cannot be read
    """
    with open_regular(path) as file:
        head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return None
    form, version, application = _HEADER.unpack(head)
    return int(version) if (form, application) == (_SQLITE, APPLICATION_ID) else None


def lock_of(path: Path) -> Path:
    """The lock of a ledger: what the names of its files begin with."""
    return path.with_name(path.name + ".lock")


@contextmanager
def transaction(connection: LedgerConnection) -> Iterator[None]:
    """Within the block, either everything is stored or nothing.

    :raises LockLostError: the ledger's lock was taken over meanwhile; nothing is stored
    """
    hold = connection.hold
    connection.execute("BEGIN IMMEDIATE")
    try:
        if hold is not None:
            _open_journal(connection)
            hold.confirm()
        yield
        if hold is not None:
            hold.confirm()
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _open_journal(connection: LedgerConnection) -> None:
    """Have SQLite open its journal, which it does by name, while the lock is held.

    Where an NFS server delegates the journal to who opens it, that is given back.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version={version}")  # a change of the first page, as each commit makes one
    if is_delegated(connection.path):
        give_back(journal_of(connection.path))


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into this project's, naming the ledger and a likely cause."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter where SQLite quotes a damaged file
        raise _translate(error, path) from error


def _translate(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> UnavailableError | RecordError:
    text = error.object.decode(errors="replace") if isinstance(error, UnicodeDecodeError) else str(error)
    if isinstance(error, sqlite3.OperationalError):
        if "locked" in text or "busy" in text:
            return UnavailableError(
                f"the ledger {path} is in use by another process ({text}): try again in a moment"
            )
        if "full" in text:
            return UnavailableError(
                f"the ledger {path} cannot grow ({text}): free some space or quota and try again"
            )
        if any(word in text for word in ("unable to open", "disk I/O", "readonly", "read-only")):
            return UnavailableError(f"the ledger {path} cannot be used ({text}): {permission(path)}")
    return RecordError(
        f"the ledger {path} is damaged or not a ledger ({text}): name another with --ledger or $HPCORCH_LEDGER, or"
        f" {replacement(path)}"
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
