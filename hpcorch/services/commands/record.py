"""What is put on record of a command that is executed: as a step of a script's attempt, or as an attempt itself.

The command goes on whatever becomes of its record: a fact that cannot be written is told on standard error.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hpcorch.errors import UnavailableError
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.writer import JournalWriter
from hpcorch.model.events import (
    AttemptEnded,
    AttemptSeeded,
    AttemptSignalled,
    CommandEnded,
    CommandStarted,
    Fact,
    JobObserved,
)
from hpcorch.model.ids import AttemptId, utc_now
from hpcorch.model.job_states import JobState, Witness
from hpcorch.model.signals import EXIT_SIGNAL_BASE
from hpcorch.runtime.context.output import say
from hpcorch.runtime.context.signals import WARNING_SIGNAL
from hpcorch.services.commands.process import Ended
from hpcorch.services.commands.result_file import Found
from hpcorch.services.commands.shared_journal import SharedJournal


class Journal(Protocol):
    """Takes facts, as :class:`hpcorch.journal.writer.JournalWriter` does."""

    def append(self, fact: Fact, *, durable: bool = False) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How `hpcorch exec` was called.

    :param argv: the command
    :param flags: our own, before it
    """

    argv: Sequence[str]
    flags: Sequence[str] = ()


class CommandRecord:
    """The record of a command in the journal of an attempt, of which it is a step.

    :ivar launch: the launch that has the run
    """

    def __init__(self, layout: SweepLayout, attempt: AttemptId, launch: int, journal: Journal, call: Call) -> None:
        self.layout = layout
        self.attempt = attempt
        self.launch = launch
        self._journal = journal
        self._call = call
        self._step = 0

    def note(self, fact: Fact, *, durable: bool = False) -> None:
        """Write a fact; if that fails, say so."""
        try:
            self._journal.append(fact, durable=durable)
        except (OSError, UnavailableError) as error:
            say(f"a fact ({fact.kind}) about the command cannot be recorded: {error}")

    def seeded(self, seed: int) -> None:
        """The command is given this seed."""

    def started(self, pid: int) -> None:
        """The command runs."""

    def ended(self, ended: Ended, found: Found) -> None:
        """The command is over."""
        if ended.warned or ended.asked_by is not None:
            self.note(AttemptSignalled(signal=WARNING_SIGNAL if ended.warned else str(ended.asked_by)))
        self.note(
            CommandEnded(
                step=self._step,
                exit_code=ended.exit_code,
                signal=ended.signal,
                seconds=round(ended.seconds, 3),
                result=found.result,
                problem=found.problem,
            ),
            durable=True,
        )

    def not_started(self, exit_code: int, why: str, *, stopped_by: str | None = None) -> None:
        """The command was not started, and why."""
        if stopped_by is not None:
            self.note(AttemptSignalled(signal=stopped_by))
        self.started(os.getpid())
        self.note(CommandEnded(step=self._step, exit_code=exit_code, signal=stopped_by, problem=why))

    def _started(self, pid: int, step: int) -> CommandStarted:
        return CommandStarted(
            step=step,
            argv=list(self._call.argv),
            cwd=str(Path.cwd()),
            host=socket.gethostname(),
            pid=pid,
            flags=list(self._call.flags) or None,
        )


class StepRecord(CommandRecord):
    """A step of a script: of how the attempt ends, Slurm tells."""

    _journal: SharedJournal

    def __init__(
        self, layout: SweepLayout, attempt: AttemptId, launch: int, journal: SharedJournal, call: Call
    ) -> None:
        super().__init__(layout, attempt, launch, journal, call)

    def started(self, pid: int) -> None:
        try:
            self._step = self._journal.start(lambda step: self._started(pid, step))
        except (OSError, UnavailableError) as error:
            say(f"the start of the command cannot be recorded: {error}")


class RunRecord(CommandRecord):
    """A run of its own, which ends as the command does.

    :param in_job: whether Slurm is there to tell why the command was stopped
    """

    _journal: JournalWriter

    def __init__(
        self,
        layout: SweepLayout,
        attempt: AttemptId,
        launch: int,
        journal: JournalWriter,
        call: Call,
        *,
        in_job: bool,
    ) -> None:
        super().__init__(layout, attempt, launch, journal, call)
        self._in_job = in_job

    def seeded(self, seed: int) -> None:
        self.note(AttemptSeeded(seed=seed, libraries=[]))

    def started(self, pid: int) -> None:
        self.note(self._started(pid, 0))

    def ended(self, ended: Ended, found: Found) -> None:
        super().ended(ended, found)
        self._end(attempt_end(ended, found, in_job=self._in_job))

    def not_started(self, exit_code: int, why: str, *, stopped_by: str | None = None) -> None:
        super().not_started(exit_code, why, stopped_by=stopped_by)
        outcome = "failed" if stopped_by is None else "stopped"
        self._end(AttemptEnded(outcome=outcome, exit_code=exit_code, reason=why, signal=stopped_by))

    def _end(self, end: AttemptEnded) -> None:
        self.note(end, durable=True)
        self._journal.close()
        if end.outcome == "stopped" and not self._in_job:
            self._tell_of_stop(end)

    def _tell_of_stop(self, end: AttemptEnded) -> None:
        """Here nobody else knows why."""
        word = JobObserved(
            submission=self.attempt.submission,
            run=self.attempt.run,
            restart=self.attempt.restart,
            state=JobState.CANCELLED.value,
            witness=Witness.LOCAL.value,
            reason=f"stopped by {end.signal}",
            exit_code=end.exit_code,
            end=utc_now(),
        )
        try:
            ControlJournal(self.layout).append(word)
        except (OSError, UnavailableError) as error:
            say(f"that the command was stopped cannot be recorded: {error}")


def attempt_end(ended: Ended, found: Found, *, in_job: bool) -> AttemptEnded:
    """How an attempt that is one command ended.

    A command that ends well after it was asked to may have been preempted, in a job: that is Slurm's to tell.
    """
    stop = WARNING_SIGNAL if ended.warned else ended.asked_by
    if stop is not None and (in_job or ended.exit_code != 0):
        return AttemptEnded(
            outcome="stopped",
            exit_code=ended.exit_code,
            signal=stop,
            reason="its time limit was near" if ended.warned else None,
            result=found.result,
            log_end=log_size(),
        )
    if ended.exit_code == 0:
        # That a result is missing is worth a word, and makes no failure of what its command calls a success.
        return AttemptEnded(
            outcome="completed", exit_code=0, reason=found.problem, result=found.result, log_end=log_size()
        )
    how = f"killed by {ended.signal}" if ended.signal else f"it ended with exit code {ended.exit_code}"
    return AttemptEnded(
        outcome="failed",
        exit_code=ended.exit_code,
        signal=ended.signal,
        reason=how,
        result=found.result,
        log_end=log_size(),
    )


def log_size() -> int | None:
    """The bytes in the file that the output goes to, if it is one."""
    try:
        status = os.fstat(1)
    except OSError:  # closed by the caller
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def exit_code_of(stop: str) -> int:
    """The exit code of what a signal ended, as a shell has it."""
    return EXIT_SIGNAL_BASE + signal.Signals[stop].value
