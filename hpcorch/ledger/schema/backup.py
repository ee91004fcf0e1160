"""Copies of a ledger: whole, and as of one moment, while others write."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from hpcorch.errors import UnavailableError, UsageError
from hpcorch.journal.access import open_new
from hpcorch.journal.files import sync_directory


def back_up(connection: sqlite3.Connection, target: Path) -> None:
    """Copy the ledger to a new file that stays after a power cut.

    It is for its owner alone; in a folder that a group shares, for the group, as the ledger there is.

    Writers wait while pages are copied (seconds a gigabyte), readers do not. Killed in the middle, it leaves a file
    that opens as an empty ledger.

    :raises UsageError: there is something at ``target`` already
    :raises UnavailableError: it cannot be written
    """
    try:
        copy(connection, target, durable=True)
        sync_directory(target.parent)
    except FileExistsError as error:
        raise UsageError(f"the file {target} exists already: name one that does not exist") from error
    except OSError as error:
        raise UnavailableError(
            f"the backup {target} cannot be written ({error.strerror}): check that its folder exists and is yours"
        ) from error


def copy(connection: sqlite3.Connection, target: Path, *, durable: bool = False) -> None:
    """As :func:`back_up`; by default a file that nobody needs after a power cut.

    :raises FileExistsError: there is something at ``target`` already
    :raises UnavailableError: there is no room for it
    """
    os.close(open_new(target, os.O_WRONLY | os.O_EXCL))
    try:
        with closing(sqlite3.connect(target)) as made:
            if not durable:
                made.execute("PRAGMA synchronous=OFF")
            # All pages in one step. In several, each write in between would start the copy over, for ever perhaps.
            connection.backup(made)
    except BaseException as error:
        target.unlink()
        if isinstance(error, sqlite3.Error) and "full" in str(error):
            raise UnavailableError(
                f"there is no room for a copy of the ledger in {target.parent} ({error}): free some, or choose"
                " another folder ($TMPDIR for temporary files)"
            ) from error
        raise
