"""Where what becomes of a command is put on record: in its own attempt's journal, or in that of a script's attempt.

The command goes on whatever becomes of its record: a fact that cannot be written is told on standard error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hpcorch.errors import UnavailableError
from hpcorch.journal.access import make_record_folder
from hpcorch.journal.files import renew
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lines import JournalWriter
from hpcorch.journal.lock import exclusive
from hpcorch.model.events import (
    AttemptCalled,
    AttemptClaimed,
    AttemptEnded,
    AttemptSeeded,
    CommandStarted,
    Fact,
)
from hpcorch.model.ids import AttemptId
from hpcorch.runtime.attempt.lifecycle import Journal, NoJournal
from hpcorch.runtime.context.output import say

_OF_THE_SCRIPT = (AttemptSeeded, AttemptEnded)  # Slurm tells how a script ends


class CommandJournal:
    """The journal of an attempt that is one command."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def append(self, fact: Fact, *, durable: bool = False) -> None:
        """Write a fact; if that fails, say so."""
        try:
            self._journal.append(fact, durable=durable)
        except (OSError, UnavailableError) as error:
            say(f"a fact ({fact.kind}) about the command cannot be recorded: {error}")

    def start(self, started: Callable[[int], CommandStarted]) -> int:
        """Write that a command was started; the number of its step in the attempt."""
        self.append(started(0))
        return 0


def no_journal() -> CommandJournal:
    """Of ranks other than 0, which record nothing."""
    return CommandJournal(NoJournal())


class StepJournal(CommandJournal):
    """The journal of a script's attempt, of which commands are steps, one after the other or several at once.

    Each fact is written under a lock, which is held for no longer. What is told of an attempt as a whole is not
    written.

    :param claimed: makes the first fact, if no command of the attempt has been started yet
    :param ranks: of the command: if there are several, the others are told that it starts
    """

    def __init__(
        self, layout: SweepLayout, attempt: AttemptId, claimed: Callable[[], AttemptClaimed], *, ranks: int
    ) -> None:
        self._path = layout.journal(attempt)
        self._lock = layout.steps_lock(attempt)
        self._claimed = claimed
        self._left_out = (*_OF_THE_SCRIPT, AttemptCalled) if ranks == 1 else _OF_THE_SCRIPT

    @property
    def is_claimed(self) -> bool:
        """Whether a command of the attempt has started before."""
        return self._path.exists()

    def append(self, fact: Fact, *, durable: bool = False) -> None:
        """Write a fact that is about the command; if that fails, say so."""
        if not isinstance(fact, self._left_out):
            self._write(lambda _steps: fact, fact.kind, durable=durable)

    def start(self, started: Callable[[int], CommandStarted]) -> int:
        """Write that a command was started, as the next step of the attempt; its number."""
        return self._write(started, CommandStarted.kind, durable=False)

    def _write(self, made: Callable[[int], Fact], kind: str, *, durable: bool) -> int:
        """Write the fact that is made of the number of steps so far; that number."""
        steps = 0
        try:
            make_record_folder(self._lock.parent)
            with (
                exclusive(self._lock, guards=[self._path], renew=partial(renew, self._path)) as hold,
                JournalWriter.resume(self._path, hold.confirm) as writer,
            ):
                steps = sum(isinstance(event.fact, CommandStarted) for event in writer.found)
                if not writer.found:
                    writer.append(self._claimed(), durable=True)
                writer.append(made(steps), durable=durable)
        except (OSError, UnavailableError) as error:
            say(f"a fact ({kind}) about the command cannot be recorded: {error}")
        return steps
