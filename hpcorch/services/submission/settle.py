"""Finishing unsettled submissions: found by their token and accepted, or given up when none appears."""

from __future__ import annotations

from datetime import timedelta

from hpcorch import tunables
from hpcorch.journal.control import ControlJournal
from hpcorch.model.entities import Submission
from hpcorch.model.ids import parse_time
from hpcorch.model.states import Backend, SubmissionState
from hpcorch.services.recording.submissions import SubmissionRecord, look_up, shows
from hpcorch.services.submission.arrays import throttle_of
from hpcorch.services.submission.submit import accept, begin
from hpcorch.slurm.protocol import SlurmClient
from hpcorch.slurm.sbatch.executor import TOKEN_PREFIX


def settle(journal: ControlJournal, client: SlurmClient, *, now: str, starts: bool = True) -> bool:
    """Finish unsettled submissions. Returns whether anything changed.

    A job that carries an intent's token is accepted and released. An intent that no job carries is given up once
    the settling time has passed with Slurm answering, and the job that sbatch had named, if any, is over.

    :param now: the current time, as :func:`hpcorch.model.ids.utc_now` writes it
    :param starts: whether the array may start; one whose sweep directory is gone stays held with Slurm
    :raises SlurmUnavailableError: Slurm does not answer; nothing was settled wrongly
    """
    if not any(map(_is_open, journal.history().submissions.values())):
        return False  # mostly, and then the lock is not needed
    changed = False
    with journal.locked():
        history = journal.history()
        for submission in filter(_is_open, history.submissions.values()):
            record = SubmissionRecord(journal=journal, number=submission.submission)
            if _is_with_slurm(record, client):
                begin(record, client, throttle_of(history, submission)) if starts else record.mark_released()
            elif _may_be_given_up(submission, client, now):
                record.mark_rejected(
                    "no job with this submission's token appeared within the settling time: it was never submitted",
                    absent=True,
                )
            else:
                continue
            changed = True
    return changed


def _is_open(submission: Submission) -> bool:
    return submission.backend is Backend.SLURM and submission.state in (
        SubmissionState.INTENDED,
        SubmissionState.UNKNOWN,
        SubmissionState.ACCEPTED,
    )


def _is_with_slurm(record: SubmissionRecord, client: SlurmClient) -> bool:
    """Whether Slurm has the submission's array, which is accepted then."""
    submission = record.submission
    if submission.state is SubmissionState.ACCEPTED and submission.job_id is not None:
        return True
    found = look_up(client, submission.token, submission.intended_at)
    printed = submission.printed
    if not found and printed is not None and shows(client, printed, submission.token):
        found = [printed]
    if found:
        accept(record, client, found, cluster=None)
    return bool(found)


def _may_be_given_up(submission: Submission, client: SlurmClient, now: str) -> bool:
    if parse_time(now) - parse_time(submission.intended_at) < timedelta(seconds=tunables.SUBMISSION_SETTLES_S):
        return False
    # It may be this one all the same, on a site that lets no mark through, unless it bears another's.
    rows = [] if submission.printed is None else client.queue([submission.printed])
    return all(row.state.is_final or TOKEN_PREFIX in row.comment for row in rows)
