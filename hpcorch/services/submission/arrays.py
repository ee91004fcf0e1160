"""Cutting runs into arrays, and applying ``array_parallelism`` to all arrays of a sweep together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from hpcorch.journal.control import ControlHistory
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.entities import Submission
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.states import SubmissionState
from hpcorch.resources.shares import OWN
from hpcorch.services.submission.request import Request
from hpcorch.services.throttling.state import Entry, own_of
from hpcorch.slurm.protocol import SlurmClient

# Jobs of a sweep beside its runs: each of two arrays has a keeper, and those of two that are over may be at work.
KEEPERS = 4
# So many arrays are provided for by that; each further one of a feeding takes one job more.
_KEPT_ARRAYS = 2
# Of a limit so much is left for the user's other jobs, unless the profile says how many.
_HEADROOM_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayPlan:
    """Runs that one array executes, and what each of them asks for.

    :param most_tasks: a packed array may have no more tasks; None where nothing limits them
    """

    runs: tuple[int, ...]
    keys: LaunchKeys
    most_tasks: int | None = None

    @property
    def elements(self) -> int:
        """How many elements the array has."""
        runs = len(self.runs)
        return self.keys.tasks_for(runs, self.most_tasks) if self.keys.is_packed else runs


class Portions(NamedTuple):
    """Arrays to submit now, in order, and how many runs have to wait."""

    arrays: list[ArrayPlan]
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitRoom:
    """What Slurm will take of this user now.

    :param array_tasks: runs that one array may have
    :param max_submit: jobs or array elements that the user may have with Slurm; None if nothing limits them
    :param submitted: that the user has there now, without the keepers of this sweep
    :param headroom: of ``max_submit`` that is left for other jobs; None for a share of it
    """

    array_tasks: int
    max_submit: int | None = None
    submitted: int = 0
    headroom: int | None = None

    @property
    def usable(self) -> int | None:
        """Elements that our arrays may have with Slurm at once; at least one, or nothing would ever run."""
        if self.max_submit is None:
            return None
        share = max(1, round(self.max_submit * _HEADROOM_SHARE))
        left = self.max_submit - KEEPERS - (share if self.headroom is None else self.headroom)
        return max(1, left)

    @property
    def free(self) -> int | None:
        """Elements that may be submitted now; None is without limit."""
        return None if self.usable is None else max(0, self.usable - self.submitted)


def portions(runs: Mapping[int, LaunchKeys], room: SubmitRoom, *, alone: bool) -> Portions:
    """What of the runs to submit now, and in which arrays.

    If not all fit, no array takes more than half of what is usable: while one is worked on the next one waits, and
    when the first is over there is room for a third. Where less is free, a smaller array is worth it only if it is
    not much smaller, or if nothing else would bring somebody back to submit the rest. Then one run is tried even
    where nothing seems free: waiting for room does not make any, and Slurm has the last word. Where arrays are
    small there are many: those for whose keepers no room is set aside leave some for them. A packed array that is
    cut has as many runs for each task as the whole would have.

    :param runs: run -> what it asks for
    :param alone: no array of the sweep is with Slurm
    """
    groups = grouped(runs)
    total = sum(len(group.runs) for group in groups)
    size = _array_size(groups, room)
    chosen: list[ArrayPlan] = []
    left = sum(group.elements for group in groups) if room.free is None else max(room.free, int(alone))
    for group in groups:
        rest, each = group.runs, -(-len(group.runs) // group.elements)
        while rest:
            # What Slurm takes without limit needs no room for keepers.
            fits = left if room.free is None else left - int(len(chosen) >= _KEPT_ARRAYS)
            elements = -(-len(rest) // each)
            is_worth_it = fits >= min(size, elements) or 2 * fits >= size or (alone and not chosen)
            if fits < 1 or not is_worth_it:
                break
            most = min(size, fits, elements)
            chosen.append(
                replace(group, runs=rest[: most * each], most_tasks=most if group.keys.is_packed else None)
            )
            rest = rest[most * each :]
            left = fits - most
        if rest:
            break
    return Portions(arrays=chosen, waiting=total - sum(len(portion.runs) for portion in chosen))


def _array_size(groups: Iterable[ArrayPlan], room: SubmitRoom) -> int:
    """Elements that an array of these may have; each array after the second has a keeper to be reckoned with."""
    size = room.array_tasks
    arrays = sum(-(-group.elements // size) for group in groups)
    needed = sum(group.elements for group in groups) + max(0, arrays - _KEPT_ARRAYS)
    if room.usable is not None and room.free is not None and needed > room.free:
        size = min(size, (room.usable + 1) // 2)  # rounded up, or there would be a third array
    return size


def grouped(runs: Mapping[int, LaunchKeys]) -> list[ArrayPlan]:
    """Runs that ask for the same, together; groups and runs in the order of their first."""
    groups: dict[LaunchKeys, list[int]] = {}
    for run, keys in runs.items():
        groups.setdefault(keys, []).append(run)
    return [ArrayPlan(runs=tuple(members), keys=keys) for keys, members in groups.items()]


def is_beside(request: Request, history: ControlHistory, client: SlurmClient) -> bool:
    """Whether more runs than the request asks for could be at work if its array came with a limit of its own.

    Slurm is asked only if there were other arrays, and these had runs enough.

    :param history: of the sweep, whose lock the caller has
    :raises SlurmUnavailableError: Slurm does not answer, and had to be asked
    """
    most = request.at_once
    others = [one for one in history.submissions.values() if one.state is not SubmissionState.REJECTED]
    runs = {one.submission: _most_at_work(history, one) for one in others}
    if most is None or not others or sum(runs.values()) + request.most_at_work <= most:
        return False
    jobs = {one.job_id: history.parallel.get(one.submission, 1) for one in others if one.job_id is not None}
    alive = sum(jobs[row.array_job_id] for row in client.queue(jobs) if not row.state.is_final)
    alive += sum(runs[one.submission] for one in others if one.job_id is None)  # nobody knows
    return alive > 0 and alive + request.most_at_work > most


def _most_at_work(history: ControlHistory, submission: Submission) -> int:
    """How many of a submission's runs can be at work at once."""
    in_tasks = len(submission.elements) * history.parallel.get(submission.submission, 1)
    return min(len(submission.runs), in_tasks)


def together(requests: Iterable[Request]) -> Iterator[Request]:
    """Requests of a new sweep as they are when those before them were submitted just now, and are at work."""
    before = 0
    for request in requests:
        most, runs = request.at_once, before + request.most_at_work
        yield replace(request, beside=most is not None and before > 0 and runs > most)
        before = runs


def throttle_of(history: ControlHistory, submission: Submission) -> Mapping[str, Any] | None:
    """What a held array shares; also one planned with a limit of its own, if others were submitted since."""
    number = submission.submission
    recorded = history.throttles.get(number)
    if recorded is not None or number not in history.at_once or not counts_runs(history):
        return recorded
    return {"units": _of_its_own(history, submission), "bound": history.at_once[number]}


def counts_runs(history: ControlHistory) -> bool:
    """Whether runs at once are counted over all arrays of the sweep."""
    return any(is_own(throttle) for number, throttle in history.throttles.items() if number in history.at_once)


def is_own(throttle: Mapping[str, Any]) -> bool:
    """Whether an array shares the sweep's own limit with its other arrays."""
    return any(name.startswith(OWN) for name in throttle["units"])


def free_arrays(layout: SweepLayout, history: ControlHistory) -> Iterator[Entry]:
    """The arrays of a sweep that came with limits of their own, to be counted with the others from now on."""
    for number, submission in history.submissions.items():
        is_free = number in history.at_once and number not in history.throttles
        if is_free and submission.job_id is not None and submission.state is not SubmissionState.REJECTED:
            yield _free(layout, history, submission)


def _of_its_own(history: ControlHistory, submission: Submission) -> dict[str, int]:
    """What each element takes of the runs that the sweep may have at work."""
    return {own_of(submission.sweep): history.parallel.get(submission.submission, 1)}


def _free(layout: SweepLayout, history: ControlHistory, submission: Submission) -> Entry:
    most = history.at_once[submission.submission]
    released = submission.state is SubmissionState.RELEASED
    return Entry(
        job_id=submission.job_id or "",
        sweep=submission.sweep,
        directory=str(layout.directory),
        submission=submission.submission,
        token=submission.token,
        units=_of_its_own(history, submission),
        bound=most,
        limit=most if released else 0,
        throttle=most,
        uncertain=released,  # a user may have given Slurm another limit
        held=not released,
    )
