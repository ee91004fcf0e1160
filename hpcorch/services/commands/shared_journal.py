"""The journal of an attempt whose script starts commands, one after the other or several at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hpcorch.journal.lock import exclusive
from hpcorch.journal.reader import read_segment
from hpcorch.journal.writer import JournalWriter
from hpcorch.model.events import AttemptClaimed, CommandStarted, Event, Fact


class SharedJournal:
    """Each fact is written under a lock, which is held for no longer, by whoever has one to write.

    :param claimed: makes the first fact, if nobody has claimed the attempt yet
    """

    def __init__(self, path: Path, claimed: Callable[[], AttemptClaimed]) -> None:
        self._path = path
        self._claimed = claimed

    @property
    def is_claimed(self) -> bool:
        """Whether a command of the attempt has started before."""
        return self._path.exists()

    def append(self, fact: Fact, *, durable: bool = False) -> None:
        """Write a fact.

        :raises OSError: it cannot be written; the journal is as before
        :raises UnavailableError: the lock cannot be had
        """
        with self._writer() as (_, writer):
            writer.append(fact, durable=durable)

    def start(self, started: Callable[[int], CommandStarted]) -> int:
        """Write that a command was started, as the next step of the attempt.

        :return: the number of the step
        :raises OSError: as :meth:`append`
        :raises UnavailableError: likewise
        """
        with self._writer() as (events, writer):
            step = sum(isinstance(event.fact, CommandStarted) for event in events)
            writer.append(started(step))
        return step

    @contextmanager
    def _writer(self) -> Iterator[tuple[tuple[Event, ...], JournalWriter]]:
        with exclusive(self._path.with_suffix(".lock")):
            events = _events(self._path)
            with JournalWriter.resume(self._path) as writer:
                if not events:
                    writer.append(self._claimed(), durable=True)
                yield events, writer


def _events(path: Path) -> tuple[Event, ...]:
    try:
        return read_segment(path, sweep="", source="", offset=0).events
    except FileNotFoundError:
        return ()
