"""Packed arrays: from Slurm's words on their elements to words on the runs that these execute. Pure.

Slurm speaks of starts of elements. Which run's attempt an element made at which start stands in the attempt's own
claim. So answers are read as if each element were a run of its own (:class:`.known.KnownAttempts`), and what is
news about a start of an element is then said of the runs that it had in flight (:meth:`PackedArrays.of_runs`). Runs
that no element has taken wait as long as any element may still come to them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from hpcorch import tunables
from hpcorch.model.entities import Attempt, Submission
from hpcorch.model.events import JobObserved
from hpcorch.model.ids import AttemptId, parse_time
from hpcorch.model.job_states import BACK_IN_QUEUE, JobState, Witness
from hpcorch.model.states import AttemptState
from hpcorch.services.observation.news import adds_to

_SLURM = frozenset({Witness.SQUEUE, Witness.SACCT})
# Ends of attempts that a journal does not tell of: what Slurm said first, it may explain later.
_BY_SLURM = frozenset({AttemptState.REQUEUED, AttemptState.PREEMPTED})
# Words of ours after which nothing more is to come.
_SETTLED = frozenset({JobState.LOST, JobState.NOT_REQUEUED})
# Concluded when nothing was heard for long, or said of what did not begin.
_AFTER_PATIENCE = frozenset({JobState.LOST, JobState.CANCELLED})
# Ends of elements that are no failure of what they executed.
_PREEMPTED = frozenset({JobState.PREEMPTED, JobState.NOT_REQUEUED})
_WELL = frozenset({JobState.COMPLETED, *_PREEMPTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedArrays:
    """The packed submissions that Slurm is asked about.

    :param submissions: by number
    :param starts: start of an element, as an attempt with its index for the run -> the attempts that it had in
        flight: a word on it is about these
    :param waiting: likewise the attempts that it would begin, of runs that an earlier start had in flight
    :param observed: start of an element -> Slurm's last word on it, if all that it is about have heard one
    :param heard: attempt -> the last word on it
    :param last: (element, submission) -> the attempt of a run that stands for its last start
    :param unclaimed: submission -> its runs that no element has taken
    :param begun: submissions of which any run was taken
    """

    submissions: Mapping[int, Submission] = field(default_factory=dict)
    starts: Mapping[AttemptId, Sequence[AttemptId]] = field(default_factory=dict)
    waiting: Mapping[AttemptId, Sequence[AttemptId]] = field(default_factory=dict)
    observed: Mapping[AttemptId, JobObserved] = field(default_factory=dict)
    heard: Mapping[AttemptId, JobObserved] = field(default_factory=dict)
    last: Mapping[tuple[int, int], Attempt] = field(default_factory=dict)
    unclaimed: Mapping[int, Sequence[int]] = field(default_factory=dict)
    begun: frozenset[int] = frozenset()

    def silent(self, alive: Collection[tuple[str, int | None]]) -> list[tuple[int, int]]:
        """The (element, submission) that squeue does not show as alive, and of which more must be known.

        :param alive: (array, index) that it shows as not over
        """
        found = {
            (start.run, start.submission)
            for start in (*self.starts, *self.waiting)
            if (self._job(start.submission), start.run) not in alive and not self._is_over(start)
        }
        for number in self._ended(alive):
            found.update((element, number) for element in self.submissions[number].elements)
        return sorted(found)

    def of_runs(
        self, facts: Iterable[JobObserved], alive: Collection[tuple[str, int | None]], *, now: datetime
    ) -> list[JobObserved]:
        """The facts, those on elements of packed arrays as facts on runs.

        :param alive: as for :meth:`silent`
        :param now: the current time, aware
        """
        found: list[JobObserved] = []
        of_elements: dict[int, dict[AttemptId, JobObserved]] = {number: {} for number in self._ended(alive)}
        for fact in facts:
            if fact.submission not in self.submissions:
                found.append(fact)
                continue
            of_elements.setdefault(fact.submission, {})[fact.attempt] = fact
            about = [_on_run(fact, attempt) for attempt in self.starts.get(fact.attempt, ())]
            about += [_on_waiting(fact, attempt, now) for attempt in self.waiting.get(fact.attempt, ())]
            found.extend(word for word in about if self._is_news(word))
        for number in self._ended(alive):
            found.extend(self._of_unclaimed(number, of_elements[number], now))
        return found

    def _is_news(self, word: JobObserved) -> bool:
        last = self.heard.get(word.attempt)
        return last is None or adds_to(last, word)

    def _job(self, number: int) -> str:
        return self.submissions[number].job_id or ""

    def _is_over(self, start: AttemptId) -> bool:
        word = self.observed.get(start)
        return word is not None and word.job_state.ends_attempt and start.next_restart() not in self.waiting

    def _ended(self, alive: Collection[tuple[str, int | None]]) -> list[int]:
        """Submissions none of whose elements is alive, although runs of theirs were not taken."""
        arrays = {array for array, _ in alive}
        return [number for number in self.unclaimed if self._job(number) not in arrays]

    def _of_unclaimed(
        self, number: int, facts: Mapping[AttemptId, JobObserved], now: datetime
    ) -> Iterator[JobObserved]:
        """What is to be said of runs that no element has taken when all elements are over."""
        words = self._last_words(number, facts)
        word = _for_unclaimed(list(words.values()), has_begun=number in self.begun)
        if word is None or len(words) < len(self.submissions[number].elements):
            return
        if word.job_state is JobState.FORGOTTEN and word.attempt not in facts:
            return  # that has been said
        is_settled = word.job_state in (JobState.FORGOTTEN, *_AFTER_PATIENCE) or _is_past(words.values(), now)
        for run in self.unclaimed[number] if is_settled else ():
            attempt = AttemptId(run=run, submission=number, restart=0)
            yield _on_run(word, attempt)

    def _last_words(self, number: int, facts: Mapping[AttemptId, JobObserved]) -> dict[int, JobObserved]:
        """Element -> the last word on it that tells when it last wrote anything."""
        found: dict[int, JobObserved] = {}
        known = {start: word for start, word in self.observed.items() if start.submission == number}
        for start, word in sorted({**known, **facts}.items(), key=lambda item: item[0].restart):
            # Of a start that never was there is no time: the one before it was preempted.
            if word.job_state is not JobState.NOT_REQUEUED or start.run not in found:
                found[start.run] = word
        return found


def _for_unclaimed(words: Sequence[JobObserved], *, has_begun: bool) -> JobObserved | None:
    """The word on runs that were never taken, by the last words on the elements; None if there is no telling yet.

    What somebody cancelled stays so. If any run was taken, or elements were preempted, the others are let go, to be
    submitted again: there was no time left for them. Otherwise they ended as the elements did, or nobody would ever
    see why.
    """
    if not words or any(not word.job_state.is_final and word.job_state not in _SETTLED for word in words):
        return next((word for word in words if word.job_state is JobState.FORGOTTEN), None)
    cancelled = next((word for word in words if word.job_state is JobState.CANCELLED), None)
    if cancelled is not None:
        return _not_begun(cancelled)
    telling = next((word for word in words if word.job_state not in _WELL), words[0])
    are_preempted = telling.job_state in _WELL and any(word.job_state in _PREEMPTED for word in words)
    return _left_over(words[0]) if has_begun or are_preempted else telling


def _left_over(word: JobObserved) -> JobObserved:
    reason = "no task of its array came to it in time"
    return replace(_not_begun(word), state=JobState.LEFT_OVER.value, reason=reason, exit_code=None, signal=None)


def _not_begun(word: JobObserved) -> JobObserved:
    """A word on an element as one on a run that never was on its node."""
    return replace(word, node=None, start=None)


def _is_past(words: Iterable[JobObserved], now: datetime) -> bool:
    """Whether what the last of the elements wrote is to be seen by now, whatever the file system."""
    told = [word for word in words if word.job_state not in _AFTER_PATIENCE]
    ends = [now if word.end is None else parse_time(word.end) for word in told]
    return not ends or now - max(ends) >= timedelta(seconds=tunables.JOURNAL_LATE_S)


def _on_waiting(fact: JobObserved, attempt: AttemptId, now: datetime) -> JobObserved:
    """The word on an attempt that was never begun: a task that ended well did not come to it."""
    if fact.job_state is not JobState.COMPLETED:
        return _on_run(fact, attempt)
    if _is_past([fact], now):
        return _on_run(_left_over(fact), attempt)
    return _on_run(replace(_not_begun(fact), state=JobState.RUNNING.value, exit_code=None, end=None), attempt)


def _on_run(fact: JobObserved, attempt: AttemptId) -> JobObserved:
    return replace(fact, run=attempt.run, restart=attempt.restart)


class _Taken(NamedTuple):
    """An attempt that an element made, and the start of the element."""

    attempt: Attempt
    start: AttemptId


def packed_arrays(
    submissions: Iterable[Submission],
    attempts: Iterable[Attempt],
    observed: Mapping[AttemptId, JobObserved],
    unsettled: Iterable[tuple[int, int]],
) -> PackedArrays:
    """What is known of packed submissions, before an answer of Slurm is read.

    :param attempts: of the sweep
    :param observed: the last word on each attempt
    :param unsettled: (run, submission) that are not over
    """
    packed = {one.submission: one for one in submissions if one.is_packed}
    if not packed:
        return PackedArrays()
    taken = [
        _Taken(attempt, start)
        for attempt in attempts
        if attempt.submission in packed and (start := _start_of(attempt)) is not None
    ]
    latest = {(one.attempt.run, one.attempt.submission): one for one in sorted(taken, key=_restart)}
    left = {attempt for attempt, word in observed.items() if word.job_state is JobState.LEFT_OVER}
    in_flight = [one for one in taken if _is_in_flight(one.attempt, observed.get(one.attempt.id))]
    flying = {one.attempt.id for one in in_flight}
    goes_on = [pair for one in latest.values() if one.attempt.id in flying for pair in _followed(one, observed)]
    starts = _by_start((one.start, one.attempt.id) for one in in_flight)
    waiting = _by_start((start, attempt) for start, attempt in goes_on if attempt not in left)
    last = _last_starts(taken)
    unclaimed = _unclaimed(packed, latest.keys(), left, unsettled)
    never = _by_start(
        (AttemptId(run=element, submission=number, restart=0), AttemptId(run=runs[0], submission=number, restart=0))
        for number, runs in unclaimed.items()
        for element in packed[number].elements
        if (element, number) not in last
    )
    return PackedArrays(
        submissions=packed,
        starts=starts,
        waiting=waiting,
        observed={
            start: _on_run(_least([observed[attempt] for attempt in about]), start)
            for start, about in (*never.items(), *starts.items(), *waiting.items())
            if all(attempt in observed for attempt in about)
        },
        heard=observed,
        last=last,
        unclaimed=unclaimed,
        begun=frozenset(number for _, number in latest),
    )


def _least(words: Sequence[JobObserved]) -> JobObserved:
    """The word that leaves most to be said. A run that began while Slurm answered has heard less than others."""
    return min(words, key=lambda word: (word.job_state.ends_attempt, word.told_by is Witness.SACCT))


def _restart(taken: _Taken) -> int:
    return taken.attempt.restart


def _followed(taken: _Taken, observed: Mapping[AttemptId, JobObserved]) -> Iterator[tuple[AttemptId, AttemptId]]:
    """The next starts of the element, and the attempt that each of them would make of the run.

    One that was over before it came to the run is followed by another; restarts are counted on all the same.
    """
    start, attempt = taken.start.next_restart(), taken.attempt.id.next_restart()
    yield start, attempt
    while (word := observed.get(attempt)) is not None and word.job_state in BACK_IN_QUEUE:
        start, attempt = start.next_restart(), attempt.next_restart()
        yield start, attempt


def _by_start(pairs: Iterable[tuple[AttemptId, AttemptId]]) -> dict[AttemptId, list[AttemptId]]:
    found: dict[AttemptId, list[AttemptId]] = {}
    for start, attempt in pairs:
        found.setdefault(start, []).append(attempt)
    return found


def _last_starts(taken: Iterable[_Taken]) -> dict[tuple[int, int], Attempt]:
    """(element, submission) -> what stands for its last start: an attempt that is not over, if there is one."""
    ordered = sorted(taken, key=lambda one: (one.start.restart, not one.attempt.state.is_final))
    last = {(one.start.run, one.start.submission): one for one in ordered}
    return {
        element: replace(one.attempt, run=one.start.run, restart=one.start.restart) for element, one in last.items()
    }


def _unclaimed(
    packed: Collection[int],
    taken: Collection[tuple[int, int]],
    left: Collection[AttemptId],
    unsettled: Iterable[tuple[int, int]],
) -> dict[int, list[int]]:
    """Submission -> its runs that no element has taken, and that were not let go."""
    found: dict[int, list[int]] = {}
    for run, number in unsettled:
        is_left = AttemptId(run=run, submission=number, restart=0) in left
        if number in packed and (run, number) not in taken and not is_left:
            found.setdefault(number, []).append(run)
    return found


def _start_of(attempt: Attempt) -> AttemptId | None:
    """The start of the element that made an attempt; None if no element has claimed the attempt."""
    _, _, element = (attempt.job_id or "").partition("_")
    if attempt.job_restart is None or not element.isdecimal():
        return None
    return AttemptId(run=int(element), submission=attempt.submission, restart=attempt.job_restart)


def _is_in_flight(attempt: Attempt, word: JobObserved | None) -> bool:
    """Whether Slurm's word on the element's start is about an attempt: its own journal has no last word."""
    if word is not None:
        return word.told_by in _SLURM
    return not attempt.state.is_final or attempt.state in _BY_SLURM
