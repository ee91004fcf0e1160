"""What helps where a ledger is not there or is none, as commands to be pasted into a shell."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote

from hpcorch.users import stranger


def adoption(path: Path) -> str:
    """The command that makes a ledger from the sweep directories, in backquotes."""
    return f"`hpcorch --ledger {quote(str(path))} ledger adopt`"


def replacement(path: Path) -> str:
    """How to put a new ledger in the place of a file that is none any more; nothing is thrown away."""
    there = quote(str(path))
    return (
        f"move it away with `mv {there} {there}.damaged` and make it again from the sweep directories with"
        f" {adoption(path)}"
    )


def permission(path: Path) -> str:
    """How to become able to write a ledger."""
    folder, there = quote(str(path.parent)), quote(str(path))
    whose = stranger(path) or stranger(path.parent)
    if whose is not None:
        return (
            f"it is {whose}'s: ask {whose} to share the project with a group that you are in, by `hpcorch init"
            " --group NAME` there, or name a ledger of your own with --ledger"
        )
    if os.access(path.parent, os.R_OK | os.W_OK | os.X_OK) and os.access(path, os.R_OK | os.W_OK):
        return "its file system has failed, or did not answer: see that it is mounted read-write, and try again"
    return (
        f"if it is yours, `chmod u+rwx {folder} && chmod u+rw {there}` lets you write it; else see that its file"
        " system is mounted read-write and answers"
    )
