"""Locks among the processes of one node: the kernel frees them, however their holder dies.

For files on a node's own disk only; what several hosts share is locked by :mod:`hpcorch.journal.lock`.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

_POLL_S = 0.02


def take(path: Path, *, shared: bool, wait_s: float) -> int | None:
    """Lock a file, making it if need be.

    :param wait_s: seconds to wait for others; 0 tries once
    :return: a descriptor that holds the lock until it is closed; None if others kept it
    :raises OSError: the file cannot be made or locked
    """
    deadline = time.monotonic() + wait_s
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(_POLL_S)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the locked file is still the one of that name: its holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
