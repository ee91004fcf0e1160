"""One process at a time, across hosts and on every file system that has exclusive creation.

A lock is a row of numbered files; the highest says how the lock stands (:mod:`hpcorch.journal.lock.files`). Who
finds it given back, or its holder dead, makes the next one, by exclusive creation, and looks once more whether a
higher one has come meanwhile. A holder writes signs of life into its file. It is dead if its process runs no more
on this host, or if it gave none for a lease's time by the server's clock and none while it was watched after that.

Nobody can stop a process that was believed dead and goes on. So it looks whether the lock is still its own before
what it did becomes final (:meth:`Hold.confirm`) and when it gives the lock back; and who takes over may have the
files that the lock guards replaced by copies, so that late writes reach files that nobody reads (``renew``).
"""

from __future__ import annotations

from hpcorch.journal.lock.files import is_full_or_foreign, leave_behind
from hpcorch.journal.lock.hold import Hold, LockLostError, exclusive

__all__ = ["Hold", "LockLostError", "exclusive", "is_full_or_foreign", "leave_behind"]
