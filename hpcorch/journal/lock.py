"""One writer at a time, across hosts: an expiring lock file with a heartbeat.

``flock`` may be local to a node on Lustre, so the lock is a file made by exclusive creation (filelock's
SoftFileLease). A holder that died on this host is noticed by its pid, one that died elsewhere by a heartbeat
that stopped; both are taken over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLease, Timeout

from hpcorch.errors import UnavailableError
from hpcorch.journal.layout import FILE_MODE

# Long enough that a stalled NFS server does not look like a dead holder, short enough to wait for.
LEASE_S = 60.0
WAIT_S = 120.0


@contextmanager
def exclusive(path: Path, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the lock at ``path``. Reentrant within a thread.

    :param wait_s: seconds to wait for another holder; 0 tries once
    :raises UnavailableError: another holder kept it, or the lock file cannot be written
    """
    lease = SoftFileLease(path, lease_duration=LEASE_S, timeout=wait_s, mode=FILE_MODE, is_singleton=True)
    try:
        lease.acquire(poll_interval=0.05)
    except Timeout:
        raise UnavailableError(
            f"another process has held the lock {path} for {wait_s:g} s: wait for it to end and try again; if its"
            f" host is gone, the lock expires by itself {LEASE_S:g} s after its last sign of life"
        ) from None
    except OSError as error:
        raise UnavailableError(
            f"the lock {path} cannot be written ({error.strerror}): check that the folder is yours, is not"
            " full and is mounted read-write"
        ) from error
    try:
        yield
    finally:
        lease.release()
