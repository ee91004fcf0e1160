"""What has to be done about a sweep now, whoever does it: pure decisions, no I/O.

Everybody decides from what is on record in the sweep directory, so two who look at the same record decide the same.
Whoever carries a decision out makes it again under the sweep's lock
(:mod:`hpcorch.services.tending.tend`), where what another has done meanwhile is on record.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from hpcorch import tunables
from hpcorch.model.entities import Attempt, Run, Submission
from hpcorch.model.failure_classes import failure_class
from hpcorch.model.ids import format_time, parse_time
from hpcorch.model.job_states import JobState
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.retry_budget import retry_wait_s
from hpcorch.model.states import NOT_FINE, Backend, RunState, SubmissionState
from hpcorch.services.observation.conclusions import cancelled_runs
from hpcorch.services.tending.sweep_state import SweepState


@dataclass(frozen=True, slots=True, kw_only=True)
class Resubmit:
    """Run these runs of one launch again, as one array that may start after a wait.

    :param wait_s: whole seconds from now
    :param reason: why, for people
    :param keys: what their last submission asked for
    """

    launch: int
    runs: tuple[int, ...]
    wait_s: int
    reason: str
    keys: LaunchKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Give a submission a keeper, which looks after the sweep when that submission's array is over."""

    submission: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Submit these runs of a launch, none of which Slurm has had, as far as it takes them now.

    :param alone: no array of the sweep is with Slurm
    """

    launch: int
    runs: tuple[int, ...]
    alone: bool


Action = Resubmit | Keep | Feed


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRetry:
    """A run that is over for now and will be run again; or one that was never with Slurm and waits for room there.

    :param number: of the retry among those of its class of failure, from 1; 0 after a preemption, which none counts
    :param of: how many retries there are of that class at most; 0 after a preemption
    :param at: the time (UTC) before which it does not start
    :param is_first: it was never with Slurm, which does not take it now; nobody knows until when
    """

    run: int
    number: int
    of: int
    at: str
    reason: str
    is_first: bool = False

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        at = None if self.is_first else self.at
        return {"number": self.number, "of": self.of, "at": at, "reason": self.reason}


def decide(state: SweepState) -> list[Action]:
    """What is to be done now. Doing it, and deciding again from the new record, gives nothing more to do."""
    return [*_resubmits(state), *_feeds(state), *(Keep(submission=number) for number in sorted(state.unkept))]


def awaited(state: SweepState) -> dict[int, PlannedRetry]:
    """Runs that are over or PLANNED by their state but will be run again, and so do not count as over.

    This alone tells a failure that will be retried from one that stays.
    """
    again = {candidate.retry.run: candidate.retry for candidate in _candidates(state)}
    waiting = (run for feed in _feeds(state) for run in feed.runs)
    return {**again, **{run: _for_room(run, state) for run in waiting}}


def _for_room(run: int, state: SweepState) -> PlannedRetry:
    reason = "it waits until Slurm accepts more of your jobs"
    return PlannedRetry(run=run, number=0, of=0, at=state.now, reason=reason, is_first=True)


def _feeds(state: SweepState) -> Iterator[Feed]:
    """Runs that were never with Slurm, of launches that are submitted bit by bit; not those refused for good.

    Where launches are begun, too, the runs of one that ended before it came to that.
    """
    waiting: dict[int, list[int]] = {}
    history = _history(state)
    for run in state.runs:
        taken, refused = history[run.run]
        firmly = any(one.submission in state.history.refused for one in refused)
        is_fed = state.begins or run.launch in state.history.feeding
        if run.state is RunState.PLANNED and is_fed and taken is None and not firmly:
            waiting.setdefault(run.launch, []).append(run.run)
    for launch, runs in sorted(waiting.items()):
        yield Feed(launch=launch, runs=tuple(runs), alone=not state.is_with_slurm)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A run to be run again, the submission that it goes on from, and whether Slurm has refused to since."""

    retry: PlannedRetry
    launch: int
    latest: Submission
    was_refused: bool


def _candidates(state: SweepState) -> Iterator[_Candidate]:
    cancelled = _cancelled(state)
    history = _history(state)
    for run in state.runs:
        taken, refused = history.get(run.run, (None, []))
        if taken is None or (taken.submission, run.run) in cancelled or len(refused) >= tunables.MAX_REFUSALS:
            continue
        retry = _planned(run, taken, state)
        if retry is not None:
            retry = _after_refusals(retry, refused, state)
            yield _Candidate(retry=retry, launch=run.launch, latest=taken, was_refused=bool(refused))


def _cancelled(state: SweepState) -> set[tuple[int, int]]:
    requests = state.history.requests
    numbers = {request.submission for request in requests}
    return {(number, run) for number in numbers for run in cancelled_runs(requests, number)}


def _history(state: SweepState) -> dict[int, tuple[Submission | None, list[Submission]]]:
    """Run -> its latest submission that Slurm took, and those after it that it refused."""
    history: dict[int, tuple[Submission | None, list[Submission]]] = {run.run: (None, []) for run in state.runs}
    for _, submission in sorted(state.history.submissions.items()):
        was_refused = submission.state is SubmissionState.REJECTED
        for run in submission.runs:
            if run in history:
                taken, refused = history[run]
                history[run] = (taken, [*refused, submission]) if was_refused else (submission, [])
    return history


def _planned(run: Run, latest: Submission, state: SweepState) -> PlannedRetry | None:
    if latest.form.is_script:
        return None  # what a user's script did so far, and whether it may be done again, is his to know
    if run.state is RunState.PLANNED:
        return _let_go(run, latest, state)
    if run.state not in NOT_FINE or latest.submission in state.abandoned:
        return None
    ends = state.ends.get(run.run, {})
    last = ends.get(latest.submission)
    failure = failure_class(last) if last is not None else None
    if last is None or failure is None:
        return None
    number = sum(1 for end in ends.values() if failure_class(end) is failure)
    most = state.keys[run.launch].max_retries.of(failure)
    if number > most:
        return None
    reason = f"retry {number} of {most} after {failure.value}"
    return PlannedRetry(run=run.run, number=number, of=most, at=_begin(last, number, state), reason=reason)


def _let_go(run: Run, latest: Submission, state: SweepState) -> PlannedRetry | None:
    """A run that was preempted and not requeued, or that its array left over. Neither is a failure of the run."""
    why = state.let_go.get((run.run, latest.submission))
    if why is None or latest.backend is not Backend.SLURM:
        return None
    if why is JobState.NOT_REQUEUED and state.keys_of(latest).forbids_requeue:
        return None
    preempted = why is JobState.NOT_REQUEUED
    reason = (
        "preempted, and not requeued by Slurm" if preempted else "no task of the array before came to them in time"
    )
    return PlannedRetry(run=run.run, number=0, of=0, at=state.now, reason=reason)


def _begin(last: Attempt, number: int, state: SweepState) -> str:
    """When a retry may begin: its wait after the end of the try before, by a clock that may be ahead of ours."""
    wait = timedelta(seconds=retry_wait_s(state.sweep.id, last.run, number))
    now = parse_time(state.now)
    ended = min(now, parse_time(last.ended_at)) if last.ended_at is not None else now
    return format_time(ended + wait)


def _after_refusals(retry: PlannedRetry, refused: Sequence[Submission], state: SweepState) -> PlannedRetry:
    if not refused:
        return retry
    wait = timedelta(seconds=retry_wait_s(state.sweep.id, retry.run, len(refused)))
    return replace(retry, at=max(retry.at, format_time(parse_time(refused[-1].intended_at) + wait)))


def _resubmits(state: SweepState) -> Iterator[Resubmit]:
    """Submissions of what is awaited; few, since runs for the same reason share an array and the longest wait."""
    if state.sweep.backend is not Backend.SLURM or _submitted_just_now(state):
        return
    asked = {number: state.keys_of(submission) for number, submission in state.history.submissions.items()}
    groups: dict[tuple[int, str, LaunchKeys], list[PlannedRetry]] = {}
    for candidate in _candidates(state):
        if candidate.was_refused and candidate.retry.at > state.now:
            continue  # Slurm is asked again when the time has come, and is not given a time to begin
        same = (candidate.launch, candidate.retry.reason, asked[candidate.latest.submission])
        groups.setdefault(same, []).append(candidate.retry)
    for (launch, reason, keys), members in groups.items():
        yield Resubmit(
            launch=launch,
            runs=tuple(sorted(retry.run for retry in members)),
            wait_s=_wait_s(members, state),
            reason=reason,
            keys=keys,
        )


def _wait_s(members: Iterable[PlannedRetry], state: SweepState) -> int:
    latest = max(parse_time(retry.at) for retry in members)
    return max(0, math.ceil((latest - parse_time(state.now)).total_seconds()))


def _submitted_just_now(state: SweepState) -> bool:
    """Whether runs of this sweep were submitted again a moment ago; a time that is still to come says nothing."""
    now = parse_time(state.now)
    ages = (
        (now - parse_time(one.intended_at)).total_seconds()
        for one in state.history.submissions.values()
        if one.submission > 0  # the first is none
    )
    return any(0 <= age < tunables.RETRY_GROUPING_S for age in ages)
