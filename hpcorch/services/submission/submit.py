"""Submitting exactly once.

Under the sweep's lock: intent with a token, durably → ``sbatch`` with the array held → look-up of the token →
all but the oldest cancelled → outcome, durably → release. Whatever dies in between, the next one who looks
finds the intent and settles it by the token; a duplicate that turns up late is still held and never starts.
(An sbatch that timed out against a frozen slurmctld, and one that was killed, both had gone through: measured.)
"""

from __future__ import annotations

from dataclasses import replace

from hpcorch.errors import (
    RecordError,
    SlurmUnavailableError,
    SubmissionRejectedError,
    SubmissionUnknownError,
    SubmitLimitError,
    UnavailableError,
)
from hpcorch.journal.control import control_journal
from hpcorch.journal.files import write_whole
from hpcorch.journal.history import read_history
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import digest
from hpcorch.journal.writer import JournalWriter
from hpcorch.model.events import SubmissionIntended, SubmissionRejected, SubmissionUnknown
from hpcorch.model.ids import format_ranges, new_token, utc_now
from hpcorch.services.submission.acceptance import accept, begin, look_up
from hpcorch.services.submission.parallelism import is_beside
from hpcorch.services.submission.request import Request, log_files, script_text
from hpcorch.slurm.commands import Submitted
from hpcorch.slurm.protocol import SlurmClient


def submit_array(layout: SweepLayout, request: Request, client: SlurmClient) -> str:
    """Submit one array and release it; the array's job id.

    :raises SubmissionRejectedError: Slurm will not take it; nothing is left behind
    :raises SlurmUnavailableError: Slurm was not reached; nothing is left behind
    :raises SubmissionUnknownError: it may exist, held; ``hpcorch status`` will settle it
    :raises RecordError: it could not be recorded; if it exists, it is held, and ``hpcorch status`` will settle it
    """
    try:
        return _submit(layout, request, client)
    except OSError as error:
        raise RecordError(
            f"the submission cannot be recorded ({error.strerror}: {error.filename or layout.state}): free space or"
            f" inodes there. Then `hpcorch status --refresh {request.sweep}` settles what was begun; nothing starts"
            " before"
        ) from error


def _submit(layout: SweepLayout, request: Request, client: SlurmClient) -> str:
    with control_journal(layout) as control:
        history = read_history(layout, request.sweep)
        number, token = history.next_submission, new_token()
        request = replace(request, beside=is_beside(request, history, client))
        throttle = request.throttle
        script = layout.script(number)
        text = script_text(layout, request, number=number, token=token).encode("utf-8", "surrogateescape")
        write_whole(script, text)
        control.append(
            SubmissionIntended(
                submission=number,
                launch=request.launch,
                runs=format_ranges(request.runs),
                token=token,
                backend="slurm",
                host=request.host,
                script=layout.relative(script),
                script_digest=digest(text),
                changed=dict(request.changed) if request.changed else None,
                throttle=throttle,
                at_once=request.at_once,
            ),
            durable=True,
        )
        begun = utc_now()
        answer = _submit_held(layout, request, client, control, number)
        try:
            job_id = _settle_answer(control, client, number, answer, token, begun)
            log_files(layout, request, number).make_slurm_folders(job_id, len(request.runs))
            held = read_history(layout, request.sweep).submissions[number]
            begin(layout, control, client, held, throttle)
        except UnavailableError as error:
            raise SubmissionUnknownError(
                f"{error} Whether the array exists, and may start, is not settled: `hpcorch status --refresh"
                f" {request.sweep}` looks again and settles it. Nothing runs twice: if it exists, it is held"
            ) from error
    return job_id


def _submit_held(
    layout: SweepLayout, request: Request, client: SlurmClient, control: JournalWriter, number: int
) -> Submitted | SubmissionUnknownError:
    """What sbatch answered, or the error that there was no answer."""
    script = layout.script(number)
    try:
        client.check(script, env=request.environ)
        return client.submit(script, env=request.environ)
    except (SubmissionRejectedError, SlurmUnavailableError) as error:
        limited = isinstance(error, SubmitLimitError) or None
        control.append(SubmissionRejected(submission=number, reason=str(error), limited=limited), durable=True)
        raise
    except SubmissionUnknownError as error:
        control.append(SubmissionUnknown(submission=number, reason=str(error)), durable=True)
        return error


def _settle_answer(
    control: JournalWriter,
    client: SlurmClient,
    number: int,
    answer: Submitted | SubmissionUnknownError,
    token: str,
    begun: str,
) -> str:
    found = look_up(client, token, begun)
    if isinstance(answer, Submitted):
        return accept(control, client, number, [answer.job_id, *found], cluster=answer.cluster)
    if not found:
        raise answer
    return accept(control, client, number, found, cluster=None)
