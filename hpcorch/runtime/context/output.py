"""What hpcorch itself writes to a run's log, or beside a program's output, apart from what the program prints."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress


def flush() -> None:
    """Flush everything that was printed to the log. A task may have closed or replaced its streams."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def say(text: str) -> None:
    """One line of ours in the log."""
    to_stderr(f"hpcorch: {text}\n")


def to_stderr(text: str) -> None:
    """Write to standard error, if there is one."""
    flush()
    with suppress(Exception):
        sys.stderr.write(text)
    flush()


def show_error(error: BaseException) -> None:
    """Show a task's exception where Python would have shown it."""
    flush()
    with suppress(Exception):
        traceback.print_exception(type(error), error, error.__traceback__)
    flush()
