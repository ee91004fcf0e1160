"""Submitting exactly once.

Under the sweep's lock: intent with a token, durably → ``sbatch`` with the array held → look-up of the token →
all but the oldest cancelled → outcome, durably → release. Whatever dies in between, the next one who looks
finds the intent and settles it by the token; a duplicate that turns up late is still held and never starts.
No job is touched that does not show the token (:mod:`hpcorch.services.recording.submissions`), whatever id sbatch
prints.
(An sbatch that timed out against a frozen slurmctld, and one that was killed, both had gone through: measured.)
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from hpcorch.errors import (
    NotFoundError,
    RecordError,
    SlurmUnavailableError,
    SubmissionRejectedError,
    SubmissionUnknownError,
    SubmitLimitError,
    UnavailableError,
)
from hpcorch.journal.control import ControlHistory, ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.entities import Submission
from hpcorch.model.ids import new_token, utc_now
from hpcorch.model.states import Backend, SubmissionState
from hpcorch.services.recording.submissions import Intent, SubmissionRecord, jobs_with, look_up, nothing_shows
from hpcorch.services.submission.arrays import counts_runs, free_arrays, is_beside, is_own
from hpcorch.services.submission.request import Request, log_files, script_text
from hpcorch.services.throttling.state import Entry, state_directory
from hpcorch.services.throttling.throttles import Throttles
from hpcorch.slurm.commands import Submitted
from hpcorch.slurm.protocol import SlurmClient

_log = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedRuns:
    """Runs of one launch that were submitted together.

    :param launch: its first run
    :param job_id: of their array, or the id of the pool on this machine
    :param tasks: of a packed array
    """

    launch: int
    runs: tuple[int, ...]
    job_id: str
    tasks: int | None = None


def submit_array(journal: ControlJournal, request: Request, client: SlurmClient) -> SubmittedRuns:
    """Submit one array and release it.

    :raises SubmissionRejectedError: Slurm will not take it; nothing is left behind
    :raises SlurmUnavailableError: Slurm was not reached; nothing is left behind
    :raises SubmissionUnknownError: it may exist, held; ``hpcorch status`` will settle it
    :raises RecordError: it could not be recorded; if it exists, it is held, and ``hpcorch status`` will settle it
    """
    try:
        job_id = _submit(journal, request, client)
    except OSError as error:
        place = error.filename or journal.layout.state
        raise RecordError(
            f"the submission cannot be recorded ({error.strerror}: {place}): free space or"
            f" inodes there. Then `hpcorch status --refresh {request.sweep}` settles what was begun; nothing starts"
            " before"
        ) from error
    return SubmittedRuns(launch=request.launch, runs=tuple(request.runs), job_id=job_id, tasks=request.tasks)


def _submit(journal: ControlJournal, request: Request, client: SlurmClient) -> str:
    with journal.locked():
        record = SubmissionRecord.next(journal)
        token = new_token()
        request = replace(request, beside=is_beside(request, journal.history(), client))
        throttle = request.throttle
        text = script_text(journal.layout, request, number=record.number, token=token)
        record.intend(
            Intent(
                launch=request.launch,
                runs=request.runs,
                token=token,
                backend=Backend.SLURM,
                host=request.host,
                script=text.encode("utf-8", "surrogateescape"),
                changed=request.changed,
                throttle=throttle,
                at_once=request.at_once,
                tasks=request.tasks,
                parallel=request.keys.parallel_runs if request.keys.parallel_runs > 1 else None,
            )
        )
        begun = utc_now()
        answer = _submit_held(record, request, client)
        try:
            job_id = _settle_answer(record, client, answer, begun)
            log_files(journal.layout, request, record.number).make_slurm_folders(
                job_id, request.tasks or len(request.runs)
            )
            begin(record, client, throttle)
        except UnavailableError as error:
            raise SubmissionUnknownError(
                f"{error} It is not known whether the array exists: `hpcorch status --refresh {request.sweep}`"
                " finds out. Nothing runs twice: if the array exists, it is held"
            ) from error
    return job_id


def _submit_held(
    record: SubmissionRecord, request: Request, client: SlurmClient
) -> Submitted | SubmissionUnknownError:
    """What sbatch answered, or the error that there was no answer."""
    script = record.layout.directory / record.submission.script
    try:
        client.check(script, env=request.environ)
        return client.submit(script, env=request.environ)
    except (SubmissionRejectedError, SlurmUnavailableError) as error:
        record.mark_rejected(str(error), limited=isinstance(error, SubmitLimitError))
        raise
    except SubmissionUnknownError as error:
        record.mark_unknown(str(error))
        return error


def _settle_answer(
    record: SubmissionRecord,
    client: SlurmClient,
    answer: Submitted | SubmissionUnknownError,
    begun: str,
) -> str:
    token = record.submission.token
    if isinstance(answer, SubmissionUnknownError):
        if not (found := look_up(client, token, begun)):
            raise answer
        return accept(record, client, found, cluster=None)
    if not (found := jobs_with(client, token, begun, printed=answer)):
        reason = nothing_shows(answer)
        record.mark_unknown(reason, printed=answer.job_id)
        raise SubmissionUnknownError(reason)
    if answer.job_id not in found:
        _log.warning("sbatch answered with job %s, which is another one than it submitted", answer.job_id)
    return accept(record, client, found, cluster=answer.cluster)
