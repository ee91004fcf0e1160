"""The control journal: what the login side decided about a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import field, replace
from functools import partial
from typing import Any

from hpcorch.journal.files import renew, status_now
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lines import JournalWriter
from hpcorch.journal.lock import Hold, exclusive
from hpcorch.journal.reader import read_segment
from hpcorch.model.entities import Submission
from hpcorch.model.events import (
    CONTROL_SOURCE,
    NO_SUBMISSION,
    ControlRequested,
    Event,
    Fact,
    FeedingPlanned,
    JobObserved,
    SubmissionIntended,
    SubmissionRejected,
)
from hpcorch.model.folding.sweep import fold_submissions
from hpcorch.model.ids import AttemptId
from hpcorch.model.states import SubmissionState
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlHistory:
    """Submissions by number, the scheduler's last word on each attempt, and what people asked of it.

    :param changed: submission -> launcher keys that it was made with instead of the launch's own
    :param throttles: submission -> ``units`` and ``bound`` of one that shares throttled resources
    :param at_once: submission -> the ``array_parallelism`` that it was made with, where it was asked for
    :param parallel: submission -> how many runs each of its packed tasks executes at once, if more than one
    :param limited: submissions that Slurm refused because of how many jobs the user has
    :param absent: submissions that were given up because nothing was found of them: nobody refused them
    :param feeding: launches whose runs are submitted as there is room -> how many jobs the user may have, if known
    """

    submissions: Mapping[int, Submission]
    observed: Mapping[AttemptId, JobObserved]
    requests: Sequence[ControlRequested]
    changed: Mapping[int, Mapping[str, Any]]
    throttles: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    at_once: Mapping[int, int] = field(default_factory=dict)
    parallel: Mapping[int, int] = field(default_factory=dict)
    limited: frozenset[int] = frozenset()
    absent: frozenset[int] = frozenset()
    feeding: Mapping[int, int | None] = field(default_factory=dict)

    @property
    def next_submission(self) -> int:
        """The number that the next submission of the sweep gets."""
        return max(self.submissions, default=-1) + 1

    @property
    def refused(self) -> frozenset[int]:
        """Submissions that Slurm refused for good."""
        rejected = (one.submission for one in self.submissions.values() if one.state is SubmissionState.REJECTED)
        return frozenset(rejected) - self.limited - self.absent

    def untouched(self, runs: Iterable[int]) -> set[int]:
        """Those of some runs that nobody has submitted or given up yet. What was rejected does not count."""
        submitted = (one for one in self.submissions.values() if one.state is not SubmissionState.REJECTED)
        taken = {run for one in submitted for run in one.runs}
        given_up = {place.run for place in self.observed if place.submission == NO_SUBMISSION}
        return set(runs) - taken - given_up

    def with_events(self, events: Sequence[Event]) -> ControlHistory:
        """The history, extended by these events of the control journal."""
        facts = [event.fact for event in events]
        intents = [fact for fact in facts if isinstance(fact, SubmissionIntended)]
        refused = [fact for fact in facts if isinstance(fact, SubmissionRejected)]
        return replace(
            self,
            submissions=fold_submissions(events, self.submissions),
            observed={**self.observed, **_last_words(facts)},
            requests=[*self.requests, *(fact for fact in facts if isinstance(fact, ControlRequested))],
            changed={**self.changed, **{one.submission: one.changed for one in intents if one.changed}},
            throttles={**self.throttles, **{one.submission: one.throttle for one in intents if one.throttle}},
            at_once={**self.at_once, **{one.submission: one.at_once for one in intents if one.at_once}},
            parallel={**self.parallel, **{one.submission: one.parallel for one in intents if one.parallel}},
            limited=self.limited.union(one.submission for one in refused if one.limited),
            absent=self.absent.union(one.submission for one in refused if one.absent),
            feeding={**self.feeding, **{f.launch: f.max_submit for f in facts if isinstance(f, FeedingPlanned)}},
        )


EMPTY_HISTORY = ControlHistory(submissions={}, observed={}, requests=(), changed={})


def _last_words(facts: Iterable[Fact]) -> dict[AttemptId, JobObserved]:
    return {fact.attempt: fact for fact in facts if isinstance(fact, JobObserved)}


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
        found = status_now(self.layout.control)
        if found.st_ino != self._inode or found.st_size < self._end:
            self._history, self._end, self._next_seq = EMPTY_HISTORY, 0, 0
            self._inode = found.st_ino

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the sweep's lock, so that no other process decides anything about it. May be nested.

        What was decided before is read inside the block, so that no two submitters act on the same past.

        :raises UnavailableError: another process holds the lock
        """
        with self._lock():
            is_open = self._writer is not None
            try:
                yield
            finally:
                # On a network file system others see what was not synced once the file is closed.
                if self._writer is not None and not is_open:
                    self._writer.close()
                    self._writer = None

    def confirm(self) -> None:
        """Return if nobody else can have decided anything since the block of :meth:`locked` began.

        :raises LockLostError: the lock was taken over, since this process stood still for long
        """
        with self._lock() as hold:
            hold.confirm()

    def _lock(self) -> AbstractContextManager[Hold]:
        control = self.layout.control
        return exclusive(self.layout.lock, guards=[control], renew=partial(renew, control))

    def append(self, *facts: Fact, durable: bool = False) -> None:
        """Write facts, under the sweep's lock.

        :param durable: return only once they would survive a power cut
        :raises OSError: they could not be written; the journal is cut back to its last whole fact
        :raises UnavailableError: another process holds the lock
        """
        with self.locked(), self._lock() as hold:
            hold.confirm()
            if self._writer is None:
                self._writer = self._open(hold)
            for fact in facts:
                self._writer.append(fact, durable=durable and fact is facts[-1])

    def _open(self, hold: Hold) -> JournalWriter:
        with suppress(FileNotFoundError):
            self.history()
        return JournalWriter.resume(self.layout.control, hold.confirm, offset=self._end, seq=self._next_seq)
