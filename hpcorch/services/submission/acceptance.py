"""Steps shared by submitting and by recovering an interrupted submission, once the array is with Slurm and held."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from hpcorch import tunables
from hpcorch.errors import NotFoundError
from hpcorch.journal.history import ControlHistory
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.entities import Submission
from hpcorch.model.ids import parse_time
from hpcorch.model.states import SubmissionState
from hpcorch.services.recording.submissions import SubmissionRecord
from hpcorch.services.submission.parallelism import counts_runs, free_arrays, is_own
from hpcorch.services.throttling.state import Entry, state_directory
from hpcorch.services.throttling.throttles import Throttles
from hpcorch.slurm.protocol import SlurmClient


def look_up(client: SlurmClient, token: str, since: str) -> list[str]:
    return client.find_token(token, parse_time(since) - timedelta(seconds=tunables.CLOCK_SKEW_S))


def accept(record: SubmissionRecord, client: SlurmClient, found: Sequence[str], *, cluster: str | None) -> str:
    """Keep the oldest of the jobs that carry the token, and cancel the others, which are held."""
    oldest, *duplicates = sorted(set(found), key=int)
    if duplicates:
        client.cancel(duplicates)
    record.mark_accepted(oldest, cluster=cluster, cancelled_duplicates=duplicates)
    return oldest


def begin(record: SubmissionRecord, client: SlurmClient, throttle: Mapping[str, Any] | None) -> None:
    """Let an array's tasks start: at once, or those of a throttled one when whoever tends finds room.

    :param record: of a submission that is accepted
    :param throttle: what is recorded of it, if it shares throttled resources
    """
    layout, submission = record.layout, record.submission
    assert submission.job_id is not None
    if throttle is not None:
        throttles = Throttles(state_directory(), client.config().cluster, client)
        # First, or there would seem to be room for as many as they run.
        for entry in free_arrays(layout, record.journal.history()) if is_own(throttle) else ():
            throttles.admit(entry)
        throttles.admit(throttled(layout, submission, throttle))
    elif not submission.form.is_script:  # a user's script is held only if its user wants it so
        # Somebody may have cancelled it while it was held; what became of it is asked for as of any other.
        with suppress(NotFoundError):
            client.release([submission.job_id])
    record.mark_released()


def admit_again(
    throttles: Throttles, layout: SweepLayout, history: ControlHistory, submissions: Collection[int]
) -> None:
    """Have arrays of a sweep counted that share throttled resources, should what was known of them be lost."""
    for number in sorted(history.throttles.keys() & set(submissions)):
        submission = history.submissions[number]
        if submission.state is SubmissionState.RELEASED:
            throttles.admit(throttled(layout, submission, history.throttles[number]))
    for entry in free_arrays(layout, history) if counts_runs(history) else ():
        if entry.submission in submissions:
            throttles.admit(entry)


def throttled(layout: SweepLayout, submission: Submission, throttle: Mapping[str, Any]) -> Entry:
    """An array as those see it who count throttled resources."""
    return Entry(
        job_id=submission.job_id or "",
        sweep=submission.sweep,
        directory=str(layout.directory),
        submission=submission.submission,
        token=submission.token,
        units=throttle["units"],
        bound=throttle["bound"],
        begins_at=throttle.get("begins_at"),
    )
