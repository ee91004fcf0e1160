"""Appending to a journal: one line a fact, fsync where a fact must survive a crash."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from hpcorch.journal.access import open_new
from hpcorch.journal.files import Confirm, check_regular, open_undelegated, sync_directory, write_all
from hpcorch.journal.lines import encode
from hpcorch.model import events
from hpcorch.model.events import Event, Fact
from hpcorch.model.ids import utc_now


class JournalWriter:
    """Appends facts to one journal file.

    Not for two writers at once: an attempt's journal has one by exclusive creation, the control journal by the
    sweep's lock. After a failed write the file is cut back to its last whole line, so that the next fact does
    not join a torn one.

    :ivar found: what :meth:`resume` read
    """

    def __init__(self, descriptor: int, path: Path, *, seq: int, end: int, found: Sequence[Event] = ()) -> None:
        self._descriptor = descriptor
        self._file = os.fstat(descriptor)
        self._end = end
        self._unarchived = hashlib.sha256() if seq == 0 else None  # what was there before is not read again
        self.path = path
        self.seq = seq
        self.found = found

    @classmethod
    def create(cls, path: Path) -> JournalWriter:
        """Open a journal that does not exist yet.

        :raises FileExistsError: it does
        """
        descriptor = open_new(path, os.O_WRONLY | os.O_EXCL | os.O_APPEND)
        sync_directory(path.parent)
        return cls(descriptor, path, seq=0, end=0)

    @classmethod
    def resume(cls, path: Path, confirm: Confirm, *, offset: int = 0, seq: int = 0) -> JournalWriter:
        """Open a journal, or create it, to append after its last whole line; an incomplete last line is cut off.

        :param confirm: of the lock that it is written under: see :mod:`hpcorch.journal.lock`
        :param offset: of whole lines that the caller has read already
        :param seq: of the line that comes after those
        :raises OSError: it cannot be opened
        :raises LockLostError: another process may have it by now; nothing was changed
        """
        from hpcorch.journal.reader import segment_in  # an attempt begins its own journal

        descriptor = _opened(path)
        try:
            confirm()
            with open(descriptor, "rb", closefd=False) as file:
                segment = segment_in(file, sweep="", source="", offset=offset)
            os.ftruncate(descriptor, segment.end)
        except BaseException:
            os.close(descriptor)
            raise
        seq = segment.events[-1].seq + 1 if segment.events else seq
        return cls(descriptor, path, seq=seq, end=segment.end, found=segment.events)

    def append(self, fact: Fact, *, durable: bool = False) -> None:
        """Write one fact.

        :param durable: return only once it would survive a power cut
        :raises OSError: it could not be written; the journal is as before
        """
        # By its kind: the class is loaded only if there are metrics.
        if fact.kind == "metrics-summarised" and self._unarchived is not None:
            assert isinstance(fact, events.MetricsSummarised)
            fact = replace(fact, logged=f"sha256:{self._unarchived.hexdigest()}")
        line = encode(fact, seq=self.seq, time=utc_now())
        if not self._is_open():
            self._open_again()
        try:
            write_all(self._descriptor, line)
            if durable:
                os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._end)
            raise
        if not fact.archived and self._unarchived is not None:
            self._unarchived.update(line)
        self._end += len(line)
        self.seq += 1

    def close(self) -> None:
        """Close the file; harmless when done twice."""
        if self._is_open():
            os.close(self._descriptor)
        self._descriptor = -1

    def _is_open(self) -> bool:
        """Whether the descriptor is this journal's still: a program may close those that it did not open."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._file)
        except OSError:
            return False

    def _open_again(self) -> None:
        descriptor = open_undelegated(self.path, os.O_WRONLY | os.O_APPEND)
        if not os.path.samestat(os.fstat(descriptor), self._file):
            os.close(descriptor)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self.path))
        self._descriptor = descriptor

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _opened(path: Path) -> int:
    """Open a journal for reading and appending; it is made if it is missing."""
    try:
        descriptor = open_undelegated(path, os.O_RDWR | os.O_APPEND)
    except FileNotFoundError:
        descriptor = open_new(path, os.O_RDWR | os.O_APPEND)
        sync_directory(path.parent)
    try:
        check_regular(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
