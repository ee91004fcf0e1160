"""The ledger's file: open only while its lock is held, by readers, too, and closed before the lock is given back.

That is all that network file systems promise: who opens a file sees what was there when it was last closed. On
one that caches, or whose locks do not cross hosts, a reader would otherwise see half of a transaction, and a writer
write over another's.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from glob import escape
from pathlib import Path
from typing import BinaryIO

from hpcorch import tunables
from hpcorch.errors import NotFoundError, RecordError, UnavailableError
from hpcorch.journal.access import make_folder, open_new
from hpcorch.journal.files import Confirm, open_regular, server_time, sync_directory
from hpcorch.journal.lock import Hold, exclusive, is_full_or_foreign
from hpcorch.ledger.schema.connection import (
    APPLICATION_ID,
    VERSION,
    LedgerConnection,
    connect_reader,
    connect_writer,
    journal_of,
    lock_of,
    translated,
)
from hpcorch.ledger.schema.cures import adoption, permission, replacement


class LedgerFile:
    """A ledger's file, not open at first.

    :param path: of the file
    :param write: whether events will be stored
    :param create: make the ledger if there is none; needs ``write``
    :param alone: nobody else writes to it while this process has it, as to a copy or a part of a bundle: no lock is
        made beside it
    """

    def __init__(self, path: Path, *, write: bool = False, create: bool = False, alone: bool = False) -> None:
        self.path = path
        self.is_alone = alone
        self._write = write
        self._create = write and create
        self._connection: LedgerConnection | None = None

    @contextmanager
    def opened(self) -> Iterator[LedgerConnection]:
        """A connection within the block, during which others wait. Blocks may be nested.

        :raises NotFoundError: there is no ledger, and none was to be made
        :raises RecordError: it is not a ledger, or a newer version of this program wrote it
        :raises UnavailableError: it cannot be opened now
        """
        if self._connection is not None:
            yield self._connection
            return
        with ExitStack() as stack:
            stack.enter_context(translated(self.path))
            try:
                hold = stack.enter_context(self._lock())
                stack.enter_context(_lost_lock_first(hold))
                connection = stack.enter_context(closing(self._connect(hold)))
            except OSError as error:
                raise self._refused(error) from error
            self._connection = connection
            try:
                yield connection
            finally:
                self._connection = None

    @contextmanager
    def _lock(self) -> Iterator[Hold | None]:
        """Hold the lock. Who only reads and cannot write there, or on a full disk, reads without it."""
        if self._create:
            make_folder(self.path.parent)
        elif not _is_there(self.path):
            raise NotFoundError(
                f"there is no ledger at {self.path}: run a sweep first, or name another with --ledger or"
                f" $HPCORCH_LEDGER; if it was lost, {adoption(self.path)} makes it again from the sweep directories"
            )
        if self.path.is_dir():
            raise RecordError(f"{self.path} is a folder, and not a ledger: {_instead(self.path)}")
        if self.is_alone:
            yield None
            return
        wait_s = tunables.LOCK_WAIT_S if self._write else tunables.LEDGER_READER_WAIT_S
        with ExitStack() as stack:
            hold = None
            try:
                files = (self.path, journal_of(self.path))
                lock = exclusive(lock_of(self.path), wait_s=wait_s, guards=files, renew=partial(renew, self.path))
                hold = stack.enter_context(lock)
            except (UnavailableError, OSError) as error:  # the latter if there is no room to renew the ledger
                cause = error if isinstance(error, OSError) else error.__cause__
                if isinstance(cause, PermissionError) and self._write:
                    raise self._refused(cause) from error
                if self._write or not is_full_or_foreign(cause):
                    raise
            yield hold

    def _refused(self, error: OSError) -> UnavailableError:
        cure = "check that the folder is yours and mounted read-write"
        if isinstance(error, PermissionError):
            cure = permission(self.path)
        elif error.errno in (errno.ENOSPC, errno.EDQUOT):
            cure = "free some space or quota and try again"
        return UnavailableError(f"the ledger {self.path} cannot be opened ({error.strerror or error}): {cure}")

    def _connect(self, hold: Hold | None) -> LedgerConnection:
        if self._write:
            connection = connect_writer(self.path, hold, alone=self.is_alone)
        else:
            connection = connect_reader(self.path, hold)
        try:
            found = _version(connection, self.path)
            if not (found or self._create or self.is_alone) and self.path.stat().st_size == 0:
                raise NotFoundError(
                    f"the ledger {self.path} is empty: run a sweep first; if it was lost, {adoption(self.path)}"
                    " makes it again from the sweep directories"
                )
            if found < VERSION and not self._write:
                connection.close()
                self._bring_up_to_date(hold)
                return self._connect(hold)
            if found < VERSION:
                _migrate(connection, self.path, found)
        except BaseException:
            connection.close()
            raise
        return connection

    def _bring_up_to_date(self, hold: Hold | None) -> None:
        with closing(connect_writer(self.path, hold)) as writer:
            _migrate(writer, self.path, _version(writer, self.path))


@contextmanager
def _lost_lock_first(hold: Hold | None) -> Iterator[None]:
    """Where the lock was taken over, that is why the ledger was replaced under this process's hands."""
    try:
        yield
    except (sqlite3.OperationalError, OSError):
        if hold is not None:
            hold.confirm()
        raise


def renew(path: Path, confirm: Confirm) -> None:
    """Put a copy in a ledger's place, with what its last writer left half done undone.

    So that writer, if it is not dead after all, writes into a file that nobody reads any more.

    :param confirm: of the ledger's lock, which was taken over
    :raises OSError: it cannot be written
    """
    server_time(path.parent)  # on a network file system the listing is one of now
    for left in path.parent.glob(f".{escape(path.name)}.*.renewed*"):  # whose maker cannot rename it any more
        left.unlink(missing_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.renewed")
    mine = [fresh, journal_of(fresh)]
    try:
        if not _copied(path, fresh):
            return
        with closing(connect_writer(fresh)) as writer:
            writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with _written(journal_of(fresh)):
            pass
        confirm()
        fresh.replace(path)
        # Not before: a journal beside a file that it was undone in says what that file says.
        if _is_there(journal_of(path)):
            journal_of(fresh).replace(journal_of(path))
        sync_directory(path.parent)
    finally:
        for file in mine:
            file.unlink(missing_ok=True)


def _copied(path: Path, fresh: Path) -> bool:
    """Copy a ledger and its rollback journal as they are at one moment; False if there is no ledger."""
    while True:
        before = _state(path), _state(journal_of(path))
        if before[0] is None:
            return False
        for source, target in ((path, fresh), (journal_of(path), journal_of(fresh))):
            with suppress(FileNotFoundError), open_regular(source) as file, _written(target) as copy:
                shutil.copyfileobj(file, copy, tunables.READ_BYTES)
        if before == (_state(path), _state(journal_of(path))):
            return True


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    with os.fdopen(open_new(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _state(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file's content; the server is asked, since the file is opened."""
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _is_there(path: Path) -> bool:
    """Whether a file exists. That it did not a network file system may remember, until its folder is listed."""
    return path.exists() or (path.parent.is_dir() and path in path.parent.iterdir())


def _instead(path: Path) -> str:
    return f"name another with --ledger or $HPCORCH_LEDGER, or {replacement(path)}"


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The ledger's version; 0 if the file is empty, as it is if its maker died at once."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != APPLICATION_ID:
        raise RecordError(f"{path} is an SQLite file, and not a ledger: {_instead(path)}")
    if version > VERSION:
        raise RecordError(
            f"the ledger {path} has version {version}, and this hpcorch knows versions up to {VERSION}: use the"
            f" hpcorch that wrote it, or a newer one, or {replacement(path)}"
        )
    return int(version)


def _migrate(connection: LedgerConnection, path: Path, found: int) -> None:
    from hpcorch.ledger.schema.migrations import migrate  # those that only read or store need no sqlite-utils
    from hpcorch.ledger.writing.projection import rebuild

    migrate(connection, path, found=found, rebuild=rebuild)
