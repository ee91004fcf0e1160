"""The life of an attempt, in order: claim, verify, seed, offer checkpoints, work, end, requeue.

Each step is a fact in the journal. What is executed is the attempt's work: the user's function in this process
(:mod:`hpcorch.runtime.attempt.function`), or a command that ``hpcorch exec`` stands in for
(:mod:`hpcorch.services.exec.work`). Who starts an attempt claims it first, since only he knows whose journal it
is: an attempt's own, or the one of a script that has several commands. Ranks other than 0 live the same life with a
journal that keeps nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import field
from pathlib import Path
from typing import Protocol

from hpcorch.errors import DriftError, RecordError, UnavailableError
from hpcorch.journal.access import access_in, make_output_folder
from hpcorch.journal.manifest import FrozenRun
from hpcorch.journal.manifest_file import read_run
from hpcorch.model.drift import Aspect, Policy, Severity
from hpcorch.model.events import (
    AttemptCalled,
    AttemptEnded,
    AttemptSeeded,
    AttemptSignalled,
    AttemptVerified,
    DriftFound,
    Fact,
)
from hpcorch.model.ids import AttemptId
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.attempt.requeue import requeue
from hpcorch.runtime.context.drift import Recorder
from hpcorch.runtime.context.output import show_error
from hpcorch.runtime.context.place import Place
from hpcorch.runtime.context.signals import WARNING_SIGNAL


def offered(frozen: FrozenRun, attempt: AttemptId, checkpoints: Path) -> dict[str, str]:
    """The variables of a run: its names, its seed, and where the checkpoints of all its attempts are.

    :param checkpoints: the folder for checkpoints that are not ours
    """
    run = frozen.run
    return {
        "HPCORCH_SWEEP": frozen.header.sweep,
        "HPCORCH_RUN": f"{frozen.header.sweep}/{run.run}",
        "HPCORCH_ATTEMPT": str(attempt),
        "HPCORCH_SEED": str(run.seed),
        "HPCORCH_RUN_DIR": run.directory,
        "HPCORCH_CHECKPOINT_DIR": str(checkpoints),
        "HPCORCH_RESUME": str(newest_entry(checkpoints) or ""),
    }


def newest_entry(directory: Path) -> Path | None:
    """The file or directory that was written last, by whatever framework; None if there is none.

    Names that begin with a dot or end in ``.tmp`` or ``.part`` are not finished.
    """
    try:
        entries = [entry for entry in directory.iterdir() if not _is_unfinished(entry.name)]
        return max(entries, key=lambda entry: entry.stat().st_mtime_ns, default=None)
    except OSError:
        return None


def _is_unfinished(name: str) -> bool:
    return name.startswith(".") or name.endswith((".tmp", ".part"))


class Work(Protocol):
    """What an attempt executes. Each method is called once at most, in this order."""

    def skipped(self) -> AttemptEnded | None:
        """The end of an attempt that is to execute nothing; None if there is something to do."""

    def prepare(self, frozen: FrozenRun, note: Recorder) -> AttemptVerified | None:
        """Load what is to be executed, compare it with what was frozen, and take the leases that it needs.

        A signal that asks to end raises meanwhile. What is executed is offered its seed and checkpoints
        (:func:`hpcorch.runtime.attempt.lifecycle.offered`).

        :param note: writes what is found into the journal
        :return: what the run was compared with; None if it was not
        """

    def seed(self, seed: int) -> list[str]:
        """Seed the random generators of this process; the names of their libraries."""

    def call(self) -> AttemptCalled:
        """What the other ranks get to know when the work begins."""

    def execute(self, conclude: Callable[[AttemptEnded], AttemptEnded]) -> AttemptEnded:
        """Do the work, and handle signals until it has ended.

        :param conclude: :meth:`Attempt.conclude`, for work that is deep in a program when it has ended
        """

    def failed(self, error: BaseException) -> AttemptEnded:
        """The end of an attempt in which a step has raised."""

    def close(self, end: AttemptEnded) -> None:
        """Give back leases, and record what is not recorded yet, before the end is recorded."""

    def may_requeue(self) -> bool:
        """Whether an attempt that was stopped near its time limit may go back into the queue."""

    def leave(self, end: AttemptEnded, *, requeued: bool) -> None:
        """Called after the end is on record."""


class Journal(Protocol):
    """Takes facts, as :class:`hpcorch.journal.lines.JournalWriter` does."""

    def append(self, fact: Fact, *, durable: bool = False) -> None:
        """Write a fact.

        :raises OSError: it cannot be written
        """


class Signals(Protocol):
    """The owner of this process's signals."""

    def stops_raise(self) -> AbstractContextManager[None]:
        """Within the block a signal that asks to end raises :class:`hpcorch.runtime.context.signals.Stopped`."""

    def deferred(self) -> AbstractContextManager[None]:
        """Within the block none raises; one that would have does so at its end."""

    def unrecorded(self) -> list[str]:
        """The signals that arrived since the last call."""


class NoJournal:
    """Of ranks other than 0: keeps nothing."""

    def append(self, fact: Fact, *, durable: bool = False) -> None:
        """Write nothing."""


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One attempt that this process has claimed, or takes part in as another rank. Use once."""

    place: Place
    journal: Journal
    signals: Signals
    work: Work
    _leader: int = field(default_factory=os.getpid)
    _ended: AttemptEnded | None = None

    def execute(self) -> AttemptEnded:
        """Execute it; how it ended.

        Every way out that Python can see ends with an ``attempt-ended`` fact; a way that it cannot see (SIGKILL, a
        dead node) leaves none, and the scheduler is asked instead.

        :raises RecordError: the end cannot be recorded
        :raises BaseException: in a process that the task has forked, what it left the task by: its end is its own
        """
        try:
            end = self._executed()
        except BaseException as error:
            if os.getpid() != self._leader or isinstance(error, RecordError):
                raise
            if self._ended is not None:  # by this exception the program is left, or by one that its way out has met
                if not isinstance(error, SystemExit):
                    show_error(error)
                return self._ended
            end = self.work.failed(error)
        return self.conclude(end)

    def conclude(self, end: AttemptEnded) -> AttemptEnded:
        """Record the end, and do what it asks for; only the first end counts.

        The work calls this where the user's function has returned, so that the end is on record whatever the
        program does on its way out.

        :raises RecordError: it cannot be recorded
        """
        if self._ended is None:
            self.work.close(end)
            self._ended = end
            self._record(end)
            # A packed task goes back into the queue when all of its runs have ended.
            near_limit = self.place.rank == 0 and end.signal == WARNING_SIGNAL and not self.place.is_packed
            requeued = near_limit and self.work.may_requeue() and requeue(self.place.job)
            self.work.leave(end, requeued=requeued)
        return self._ended

    def _executed(self) -> AttemptEnded:
        work = self.work
        if (end := work.skipped()) is not None:
            return end
        with self.signals.stops_raise():
            frozen = self._frozen()
            verified = work.prepare(frozen, self._note)
        if verified is not None:
            self.journal.append(verified)
        self.journal.append(AttemptSeeded(seed=frozen.run.seed, libraries=work.seed(frozen.run.seed)))
        # Ranks other than 0 begin when they see the next fact, and must find the run's directory.
        make_output_folder(Path(frozen.run.directory), access=access_in(self.place.layout.state))
        self.journal.append(work.call(), durable=self.place.tasks > 1)
        return work.execute(self.conclude)

    def _frozen(self) -> FrozenRun:
        """The run as it was frozen. That it cannot be had is drift.

        :raises DriftError: the manifest is gone, or not what was written
        :raises UnavailableError: it cannot be read now
        """
        try:
            return find_frozen(self.place)
        except DriftError as error:
            self._note(refusal(Aspect.CONFIGURATION, "manifest", error))
            raise

    def _note(self, fact: Fact) -> None:
        with self.signals.deferred():
            self.journal.append(fact)

    def _record(self, end: AttemptEnded) -> None:
        try:
            for name in self.signals.unrecorded():
                self.journal.append(AttemptSignalled(signal=name))
            self.journal.append(end, durable=True)
        except OSError as error:
            path = self.place.layout.journal(self.place.attempt)
            raise RecordError(
                f"the attempt ended as {end.outcome}, but this cannot be recorded: {path} cannot be written"
                f" ({error.strerror}). It counts as failed: free space or inodes there, and retry the run"
            ) from error


def find_frozen(place: Place) -> FrozenRun:
    """The run of a place as it was frozen.

    :raises DriftError: the manifest is gone, or not what was written
    :raises UnavailableError: it cannot be read now
    """
    path = place.layout.manifest(place.launch)
    try:
        frozen = read_run(path, place.attempt.run, own=True)
    except RecordError as error:
        raise DriftError(str(error)) from None
    except FileNotFoundError:
        raise DriftError(f"the manifest {path} is missing: the sweep directory was moved or deleted") from None
    except OSError as error:
        raise UnavailableError(f"the manifest {path} cannot be read ({error.strerror})") from error
    if not place.layout.moves:
        return frozen
    from hpcorch.runtime.program.relocation import relocated_run  # few are moved

    return relocated_run(frozen, place.layout)


def refusal(aspect: Aspect, what: str, error: DriftError) -> DriftFound:
    """The fact that nothing is executed, because something frozen is not available as it was."""
    return DriftFound(
        aspect=aspect.value,
        severity=Severity.MAJOR.value,
        what=what,
        before="as frozen",
        after=str(error),
        policy=Policy.REFUSE.value,
    )
