"""Bringing submissions to an end that somebody left half-done."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hpcorch import tunables
from hpcorch.journal.control import control_journal
from hpcorch.journal.history import read_history
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.writer import JournalWriter
from hpcorch.model.entities import Submission
from hpcorch.model.events import SubmissionRejected
from hpcorch.model.ids import parse_time
from hpcorch.model.states import SubmissionState
from hpcorch.services.submission.acceptance import accept, begin, look_up
from hpcorch.services.submission.parallelism import throttle_of
from hpcorch.slurm.protocol import SlurmClient


def settle(layout: SweepLayout, sweep: str, client: SlurmClient, *, now: str) -> bool:
    """Bring submissions that somebody left half-done to an end; whether anything changed.

    A job that carries an intent's token is accepted and released. An intent that no job carries is given up once
    the settling time has passed with Slurm answering.

    :param now: the current time, as :func:`hpcorch.model.ids.utc_now` writes it
    :raises SlurmUnavailableError: Slurm does not answer; nothing was settled wrongly
    """
    if not any(_is_open(submission) for submission in read_history(layout, sweep).submissions.values()):
        return False
    changed = False
    with control_journal(layout) as control:
        history = read_history(layout, sweep)
        for submission in history.submissions.values():
            if not _is_open(submission):
                continue
            job_id = _settle_one(control, client, submission, now)
            if job_id is not None:
                held = replace(submission, job_id=job_id)
                begin(layout, control, client, held, throttle_of(history, held))
            changed |= job_id is not None or _may_be_given_up(submission, now)
    return changed


def _is_open(submission: Submission) -> bool:
    return submission.backend == "slurm" and submission.state in (
        SubmissionState.INTENDED,
        SubmissionState.UNKNOWN,
        SubmissionState.ACCEPTED,
    )


def _settle_one(control: JournalWriter, client: SlurmClient, submission: Submission, now: str) -> str | None:
    """The id of the array that the submission has, accepted; None if there is none so far."""
    number = submission.submission
    if submission.state is SubmissionState.ACCEPTED and submission.job_id is not None:
        return submission.job_id
    found = look_up(client, submission.token, submission.intended_at)
    if found:
        return accept(control, client, number, found, cluster=None)
    if _may_be_given_up(submission, now):
        control.append(
            SubmissionRejected(
                submission=number,
                reason="no job with this submission's token appeared within the settling time: it was never"
                " submitted",
            ),
            durable=True,
        )
    return None


def _may_be_given_up(submission: Submission, now: str) -> bool:
    return parse_time(now) - parse_time(submission.intended_at) >= timedelta(seconds=tunables.SUBMISSION_SETTLES_S)
