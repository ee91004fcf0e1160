"""Submitting exactly once.

Under the sweep's lock: intent with a token, durably → ``sbatch`` with the array held → look-up of the token →
all but the oldest cancelled → outcome, durably → release. Whatever dies in between, the next one who looks
finds the intent and settles it by the token; a duplicate that turns up late is still held and never starts.
(An sbatch that timed out against a frozen slurmctld, and one that was killed, both had gone through: measured.)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hpcorch.errors import (
    NotFoundError,
    RecordError,
    SlurmUnavailableError,
    SubmissionRejectedError,
    SubmissionUnknownError,
)
from hpcorch.journal.control import control_journal
from hpcorch.journal.files import write_whole
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.writer import JournalWriter
from hpcorch.model.entities import Submission
from hpcorch.model.events import (
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionRejected,
    SubmissionReleased,
    SubmissionUnknown,
)
from hpcorch.model.ids import format_ranges, new_token, parse_time, utc_now
from hpcorch.model.states import SubmissionState
from hpcorch.services.logs import LogFiles
from hpcorch.services.past import read_past
from hpcorch.slurm.client import SUBMIT_TIMEOUT_S, SlurmClient
from hpcorch.slurm.commands import Submitted
from hpcorch.slurm.executor import sbatch_text
from hpcorch.slurm.options import JobOptions

# The clocks of login node and controller differ; a look-up starts this much before the intent.
CLOCK_SKEW = timedelta(minutes=10)
# For so long after its intent a job that sbatch did submit may still be invisible to squeue and sacct: the script
# is checked and then submitted, each within a time limit (an sbatch may outlive the launcher that was killed), and
# a short job was visible nowhere for seconds after that (measured).
SETTLING_TIME = timedelta(seconds=60 + 2 * SUBMIT_TIMEOUT_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Runs of one batch that one array is to execute; array index i executes ``runs[i]``.

    :param changed: launcher keys in ``options`` that differ from those that the batch was launched with
    :param begin_s: seconds from the submission before which none of them starts
    """

    sweep: str
    batch: int
    runs: Sequence[int]
    options: JobOptions
    environ: Mapping[str, str]
    host: str
    log_folder: str | None = None
    changed: Mapping[str, Any] | None = None
    begin_s: int = 0


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
        number = read_past(layout, request.sweep).next_submission
        token = new_token()
        script = layout.script(number)
        text = script_text(layout, request, number=number, token=token)
        write_whole(script, text.encode("utf-8", "surrogateescape"))
        control.append(
            SubmissionIntended(
                submission=number,
                batch=request.batch,
                runs=format_ranges(request.runs),
                token=token,
                backend="slurm",
                host=request.host,
                script=layout.relative(script),
                changed=dict(request.changed) if request.changed else None,
            ),
            durable=True,
        )
        begun = utc_now()
        answer = _submit_held(layout, request, client, control, number)
        try:
            job_id = _settle_answer(control, client, number, answer, token, begun)
            _logs(layout, request, number).make_slurm_folders(job_id, len(request.runs))
            _release(control, client, number, job_id)
        except (SubmissionUnknownError, SlurmUnavailableError) as error:
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
        control.append(SubmissionRejected(submission=number, reason=str(error)), durable=True)
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
    found = _look_up(client, token, begun)
    if isinstance(answer, Submitted):
        return _accept(control, client, number, [answer.job_id, *found], cluster=answer.cluster)
    if not found:
        raise answer
    return _accept(control, client, number, found, cluster=None)


def _look_up(client: SlurmClient, token: str, since: str) -> list[str]:
    return client.find_token(token, parse_time(since) - CLOCK_SKEW)


def _accept(
    control: JournalWriter, client: SlurmClient, number: int, found: Sequence[str], *, cluster: str | None
) -> str:
    """Keep the oldest of the jobs that carry the token, and cancel the others, which are held."""
    oldest, *duplicates = sorted(set(found), key=int)
    if duplicates:
        client.cancel(duplicates)
    control.append(
        SubmissionAccepted(submission=number, job_id=oldest, cluster=cluster, cancelled_duplicates=duplicates),
        durable=True,
    )
    return oldest


def _release(control: JournalWriter, client: SlurmClient, number: int, job_id: str) -> None:
    # Somebody may have cancelled it while it was held; what became of its elements is asked for as of any other.
    with suppress(NotFoundError):
        client.release([job_id])
    control.append(SubmissionReleased(submission=number), durable=True)


def settle(layout: SweepLayout, sweep: str, client: SlurmClient, *, now: str) -> bool:
    """Bring submissions that somebody left half-done to an end; whether anything changed.

    A job that carries an intent's token is accepted and released. An intent that no job carries is given up once
    the settling time has passed with Slurm answering.

    :param now: the current time, as :func:`hpcorch.model.ids.utc_now` writes it
    :raises SlurmUnavailableError: Slurm does not answer; nothing was settled wrongly
    """
    if not any(_is_open(submission) for submission in read_past(layout, sweep).submissions.values()):
        return False
    changed = False
    with control_journal(layout) as control:
        for submission in read_past(layout, sweep).submissions.values():
            if _is_open(submission):
                changed |= _settle_one(control, client, submission, now)
    return changed


def _is_open(submission: Submission) -> bool:
    return submission.backend == "slurm" and submission.state in (
        SubmissionState.INTENDED,
        SubmissionState.UNKNOWN,
        SubmissionState.ACCEPTED,
    )


def _settle_one(control: JournalWriter, client: SlurmClient, submission: Submission, now: str) -> bool:
    number = submission.submission
    if submission.state is SubmissionState.ACCEPTED and submission.job_id is not None:
        _release(control, client, number, submission.job_id)
        return True
    found = _look_up(client, submission.token, submission.intended_at)
    if found:
        _release(control, client, number, _accept(control, client, number, found, cluster=None))
        return True
    if parse_time(now) - parse_time(submission.intended_at) < SETTLING_TIME:
        return False
    control.append(
        SubmissionRejected(
            submission=number,
            reason="no job with this submission's token appeared within the settling time: it was never submitted",
        ),
        durable=True,
    )
    return True


def _logs(layout: SweepLayout, request: Request, number: int) -> LogFiles:
    return LogFiles(layout=layout, submission=number, folder=request.log_folder)


def script_text(layout: SweepLayout, request: Request, *, number: int, token: str) -> str:
    """The batch script of a submission.

    :raises UsageError: a value cannot be written into a batch script
    """
    output, error = _logs(layout, request, number).slurm_patterns()
    return sbatch_text(
        request.options,
        array=range(len(request.runs)),
        command=(
            "-u",
            "-m",
            "hpcorch.runtime",
            str(layout.directory),
            "--batch",
            str(request.batch),
            "--submission",
            str(number),
            "--runs",
            format_ranges(request.runs),
        ),
        log_pattern=output,
        error_pattern=error,
        token=token,
        exports=script_exports(request.environ),
        begin_s=request.begin_s,
    )


def script_exports(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that every job of ours has before Python starts.

    :param environ: the environment that the job is given
    """
    exports = {
        "SUBMITIT_EXECUTOR": "slurm",  # lets submitit.JobEnvironment() work in the user's code
        # Sets of strings iterate alike in every attempt, unless the user chose another seed for hashes.
        "PYTHONHASHSEED": environ.get("PYTHONHASHSEED", "0"),
    }
    if sys.version_info >= (3, 11):
        exports["PYTHONSAFEPATH"] = "1"  # the working directory cannot shadow our modules
    return exports
