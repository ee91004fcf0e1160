"""Applying ``array_parallelism`` to all arrays of a sweep together, where the user set it.

One array keeps it by its own ``%N``. An array that comes while others of the sweep may be at work is throttled: it
shares with them what the sweep has to itself, one unit a run. Those that came before it, with limits of their own,
are counted from then on as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from hpcorch.journal.history import ControlHistory
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.entities import Submission
from hpcorch.model.states import SubmissionState
from hpcorch.resources.shares import OWN
from hpcorch.services.submission.request import Request
from hpcorch.services.throttling.state import Entry, own_of
from hpcorch.slurm.protocol import SlurmClient


def is_beside(request: Request, history: ControlHistory, client: SlurmClient) -> bool:
    """Whether more runs than the request asks for could be at work if its array came with a limit of its own.

    Slurm is asked only if there were other arrays, and these had runs enough.

    :param history: of the sweep, whose lock the caller has
    :raises SlurmUnavailableError: Slurm does not answer, and had to be asked
    """
    most = request.at_once
    others = [one for one in history.submissions.values() if one.state is not SubmissionState.REJECTED]
    if most is None or not others or sum(len(one.runs) for one in others) + len(request.runs) <= most:
        return False
    rows = client.queue([one.job_id for one in others if one.job_id is not None])
    alive = sum(not row.state.is_final for row in rows)
    alive += sum(len(one.runs) for one in others if one.job_id is None)  # nobody knows
    return alive > 0 and alive + len(request.runs) > most


def together(requests: Iterable[Request]) -> Iterator[Request]:
    """Requests of a new sweep as they are when those before them were submitted just now, and are at work."""
    before = 0
    for request in requests:
        most, runs = request.at_once, before + len(request.runs)
        yield replace(request, beside=most is not None and before > 0 and runs > most)
        before = runs


def throttle_of(history: ControlHistory, submission: Submission) -> Mapping[str, Any] | None:
    """What an array that is held shares; also one that was to have a limit of its own, if others came since."""
    number = submission.submission
    recorded = history.throttles.get(number)
    if recorded is not None or number not in history.at_once or not counts_runs(history):
        return recorded
    return {"units": {own_of(submission.sweep): 1}, "bound": history.at_once[number]}


def counts_runs(history: ControlHistory) -> bool:
    """Whether runs at once are counted over all arrays of the sweep."""
    return any(is_own(throttle) for number, throttle in history.throttles.items() if number in history.at_once)


def is_own(throttle: Mapping[str, Any]) -> bool:
    """Whether an array shares with others of its sweep what that has to itself."""
    return any(name.startswith(OWN) for name in throttle["units"])


def free_arrays(layout: SweepLayout, history: ControlHistory) -> Iterator[Entry]:
    """The arrays of a sweep that came with limits of their own, to be counted with the others from now on."""
    for number, submission in history.submissions.items():
        is_free = number in history.at_once and number not in history.throttles
        if is_free and submission.job_id is not None and submission.state is not SubmissionState.REJECTED:
            yield _free(layout, submission, history.at_once[number])


def _free(layout: SweepLayout, submission: Submission, most: int) -> Entry:
    released = submission.state is SubmissionState.RELEASED
    return Entry(
        job_id=submission.job_id or "",
        sweep=submission.sweep,
        directory=str(layout.directory),
        submission=submission.submission,
        token=submission.token,
        units={own_of(submission.sweep): 1},
        bound=most,
        limit=most if released else 0,
        throttle=most,
        uncertain=released,  # somebody may have told Slurm another limit
        held=not released,
    )
