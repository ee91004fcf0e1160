"""One writer at a time, across hosts: an expiring lock file with a heartbeat.

``flock`` may be local to a node on Lustre, so the lock is a file made by exclusive creation (filelock's
SoftFileLease). A holder that died on this host is noticed by its pid, one that died elsewhere by a heartbeat
that stopped; both are taken over.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch import tunables
from hpcorch.errors import UnavailableError
from hpcorch.journal.access import access_in, settle

if TYPE_CHECKING:
    from filelock import SoftFileLease


@contextmanager
def exclusive(path: Path, *, wait_s: float | None = None) -> Iterator[None]:
    """Hold the lock at ``path``. Reentrant within a thread.

    :param wait_s: seconds to wait for another holder, ``LOCK_WAIT_S`` by default; 0 tries once
    :raises UnavailableError: another holder kept it, or the lock file cannot be written
    """
    from filelock import SoftFileLease, Timeout  # who only reads has no need of it

    wait_s = tunables.LOCK_WAIT_S if wait_s is None else wait_s
    mode = access_in(path.parent).file_mode
    lease = SoftFileLease(path, lease_duration=tunables.LOCK_LEASE_S, mode=mode, is_singleton=True)
    try:
        _acquire(lease, path, wait_s)
    except Timeout:
        raise UnavailableError(
            f"another process has held the lock {path} for {wait_s:g} s: wait for it to end and try again; if its"
            f" host is gone, the lock expires by itself {tunables.LOCK_LEASE_S:g} s after its last sign of life"
        ) from None
    except OSError as error:
        raise UnavailableError(
            f"the lock {path} cannot be written ({error.strerror}): check that the folder is yours, is not"
            " full and is mounted read-write"
        ) from error
    try:
        settle(path)
        yield
    finally:
        lease.release()


def _acquire(lease: SoftFileLease, path: Path, wait_s: float) -> None:
    """Wait for the lock, and take over one whose maker died before it wrote its name into the file.

    filelock leaves an empty lock file alone for ever (it may be an old version's). Here nobody but this module
    makes one, and it is empty for microseconds; so one that stays empty for a lease's time has no owner.
    """
    from filelock import Timeout

    deadline = time.monotonic() + wait_s
    while True:
        seen, since = _nameless(path), time.monotonic()
        try:
            lease.acquire(timeout=max(0.0, min(tunables.LOCK_LEASE_S, deadline - since)), poll_interval=0.05)
        except Timeout:
            if seen is not None and time.monotonic() - since >= tunables.LOCK_LEASE_S:
                _remove(path, seen)
            if time.monotonic() >= deadline:
                raise
        else:
            return


def _nameless(path: Path) -> tuple[int, int] | None:
    """What tells an empty lock file from its successors; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return (found.st_ino, found.st_ctime_ns) if found.st_size == 0 else None


def _remove(path: Path, seen: tuple[int, int]) -> None:
    """Remove an empty lock file unless it changed. Those who judged the same file take turns by its flock."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if _nameless(path) == seen:
            path.unlink()
