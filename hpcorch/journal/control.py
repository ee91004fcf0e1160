"""The control journal: what the login side decided about a sweep, written by one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lock import exclusive
from hpcorch.journal.writer import JournalWriter


@contextmanager
def control_journal(layout: SweepLayout) -> Iterator[JournalWriter]:
    """Open the control journal for appending, under the sweep's lock.

    What was decided before is read by the caller inside the same block, so that no two submitters act on the
    same past.

    :raises UnavailableError: another process holds the lock
    """
    with exclusive(layout.lock), JournalWriter.resume(layout.control) as writer:
        yield writer
