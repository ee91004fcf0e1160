"""What hpcorch itself says in a run's log, apart from what the task prints."""

from __future__ import annotations

import sys
import traceback


def say(text: str) -> None:
    """One line of ours in the log."""
    sys.stdout.flush()
    sys.stderr.write(f"hpcorch: {text}\n")
    sys.stderr.flush()


def show_error(error: BaseException) -> None:
    """Show a task's exception where Python would have shown it."""
    sys.stdout.flush()
    traceback.print_exception(type(error), error, error.__traceback__)
    sys.stderr.flush()
