"""One process at a time, across hosts and on every file system that has exclusive creation.

A lock is a row of numbered files; the highest says how the lock stands (:mod:`hpcorch.journal.lock.files`). Who
finds it given back, or its holder dead, makes the next one, by exclusive creation, and looks once more whether a
higher one has come meanwhile. A holder writes signs of life into its file. It is dead if its process runs no more
on this host, or if it gave none for a lease's time by the server's clock and none while it was watched after that.

Nobody can stop a process that was believed dead and goes on, nor a request of its host that the network held up. So
nothing that comes late may reach what others read, by three rules:

- Who takes over puts copies in the place of what the lock guards (``renew``).
- Who writes to a file opens it, then looks whether the lock is still its own (:meth:`Hold.confirm`), and reads and
  writes what it has opened: that is the file of a time when it had the lock.
- Who replaces a file writes another one, looks whether the lock is still its own, and renames it. Who takes over
  removes those of the others first: nobody can rename what is not there.
"""

from __future__ import annotations

from hpcorch.journal.lock.files import is_full_or_foreign, leave_behind
from hpcorch.journal.lock.hold import Hold, LockLostError, exclusive

__all__ = ["Hold", "LockLostError", "exclusive", "is_full_or_foreign", "leave_behind"]
