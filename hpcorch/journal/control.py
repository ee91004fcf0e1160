"""The control journal: what the login side decided about a sweep, written by one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hpcorch.journal.history import EMPTY_HISTORY, ControlHistory
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lock import exclusive
from hpcorch.journal.reader import read_segment
from hpcorch.journal.writer import JournalWriter
from hpcorch.model.events import CONTROL_SOURCE, Fact


class ControlJournal:
    """The control journal of one sweep, as far as this object has read it.

    Each look reads only what was appended since the look before, so keep one object for as long as you deal with
    the sweep, and hand it on.

    :param sweep: the sweep's id; empty if it does not matter
    :ivar layout: the sweep directory
    """

    def __init__(self, layout: SweepLayout, sweep: str = "") -> None:
        self.layout = layout
        self.sweep = sweep
        self._history = EMPTY_HISTORY
        self._end = 0  # byte offset behind the last whole line that was read
        self._next_seq = 0
        self._inode = 0
        self._writer: JournalWriter | None = None

    def history(self, *, until: int | None = None) -> ControlHistory:
        """What is on record now. Call it inside :meth:`locked` if something is to be decided from it.

        :param until: only what stands before this byte offset, such as what a ledger has taken over
        :raises OSError: the journal cannot be read
        """
        self._forget_if_replaced()
        if until is not None and until < self._end:  # this object has read on since
            return ControlJournal(self.layout, self.sweep).history(until=until)
        segment = read_segment(
            self.layout.control, sweep=self.sweep, source=CONTROL_SOURCE, offset=self._end, until=until
        )
        if segment.events:
            self._history = self._history.with_events(segment.events)
            self._next_seq = segment.events[-1].seq + 1
        self._end = segment.end
        return self._history

    def _forget_if_replaced(self) -> None:
        """Begin anew if another file has the journal's place, or if less of it is there than was read."""
        found = self.layout.control.stat()
        if found.st_ino != self._inode or found.st_size < self._end:
            self._history, self._end, self._next_seq = EMPTY_HISTORY, 0, 0
            self._inode = found.st_ino

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the sweep's lock, so that nobody else decides anything about it. May be nested.

        What was decided before is read inside the block, so that no two submitters act on the same past.

        :raises UnavailableError: another process holds the lock
        """
        with exclusive(self.layout.lock):
            is_open = self._writer is not None
            try:
                yield
            finally:
                # On a network file system others see what was not synced once the file is closed.
                if self._writer is not None and not is_open:
                    self._writer.close()
                    self._writer = None

    def append(self, *facts: Fact, durable: bool = False) -> None:
        """Write facts, under the sweep's lock.

        :param durable: return only once they would survive a power cut
        :raises OSError: they could not be written; the journal is cut back to its last whole fact
        :raises UnavailableError: another process holds the lock
        """
        with self.locked():
            if self._writer is None:
                self._writer = self._open()
            for fact in facts:
                self._writer.append(fact, durable=durable and fact is facts[-1])

    def _open(self) -> JournalWriter:
        if not self.layout.control.exists():
            return JournalWriter.create(self.layout.control)
        self.history()
        return JournalWriter.resume(self.layout.control, offset=self._end, seq=self._next_seq)
