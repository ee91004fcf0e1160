"""Whether SQLite's locks work on a file system.

``python -m hpcorch.ledger.checking.trial PATH`` is the other process.

A writer that is in a transaction must keep another process out, and be done with it afterwards. A network file
system without a lock service fails one of the two, or every lock.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from enum import Enum
from pathlib import Path

from hpcorch import process, tunables
from hpcorch.errors import RecordError
from hpcorch.ledger.schema.connection import connect_writer


class Answer(Enum):
    """The other process's result, as its exit code."""

    WROTE = 0
    LOCKED = 10
    FAILED = 11


def sqlite_problem(path: Path) -> str | None:
    """Try locks on a file of this name, which is created: what does not work, as a phrase; None if all works.

    :param path: absolute
    """
    try:
        with closing(connect_writer(path)) as connection:
            connection.execute("CREATE TABLE trial (number INTEGER)")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO trial VALUES (1)")
            if _other(path)[0] is Answer.WROTE:
                return "a second process writes into the file while another one has it locked"
            connection.execute("COMMIT")
            answer, words = _other(path)
            (count,) = connection.execute("SELECT count(*) FROM trial").fetchone()
    except (sqlite3.Error, OSError, RecordError, process.CommandMissingError, process.CommandTimeoutError) as error:
        return f"SQLite cannot work here ({error})"
    if answer is not Answer.WROTE or count != 2:
        return f"a second process cannot write though nobody has the file locked ({words})"
    return None


def _other(path: Path) -> tuple[Answer, str]:
    argv = [sys.executable, "-m", __name__, str(path)]
    done = process.run(
        argv, timeout_s=tunables.LEDGER_TRIAL_TIMEOUT_S, cwd=path.parent
    )  # not among the user's modules
    known = {answer.value: answer for answer in Answer}
    return known.get(done.returncode, Answer.FAILED), done.stderr.strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write into the file if nobody has it locked; the exit code says what happened."""
    parser = argparse.ArgumentParser(prog=f"python -m {__name__}", description=__doc__)
    parser.add_argument("path", type=Path)
    given = parser.parse_args(arguments)
    try:
        with closing(connect_writer(given.path)) as connection:
            connection.execute("PRAGMA busy_timeout=0")
            connection.execute("INSERT INTO trial VALUES (2)")
    except sqlite3.Error as error:
        sys.stderr.write(f"{error}\n")
        busy = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
        return int((Answer.LOCKED if busy else Answer.FAILED).value)
    return int(Answer.WROTE.value)


if __name__ == "__main__":
    sys.exit(main())
