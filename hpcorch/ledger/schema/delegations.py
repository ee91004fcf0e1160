"""What an NFS server delegates to this host: it would wait for that if this host died."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path

_NFS = "nfs4"  # earlier versions have no delegations


def give_back(*paths: Path) -> None:
    """Give back what the server has delegated of files that SQLite has opened.

    Linux does so before it sets a file's mode; it is set as it is. Nothing is delegated anew for a file that stays
    open. Of another user's file the delegation stays.
    """
    for path in paths:
        with suppress(OSError):
            status = path.stat()
            if _is_on_nfs(status.st_dev):
                path.chmod(stat.S_IMODE(status.st_mode))


def is_delegated(path: Path) -> bool:
    """Whether a server may delegate a file to who opens it."""
    try:
        return _is_on_nfs(path.stat().st_dev)
    except OSError:
        return False


@cache
def _is_on_nfs(device: int) -> bool:
    """Whether a device is an NFS mount; see proc_pid_mountinfo(5)."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    mounts = (line.partition(" - ") for line in lines)
    return any(left.split()[2] == wanted and right.split()[0] == _NFS for left, _, right in mounts)
