"""Recording submissions: what is intended, before anybody is asked, what came of it, and which job it is.

Every submission is recorded here, whether Slurm, a pool on this machine or a command executes its runs. The caller
holds the sweep's lock from the intent to the outcome.

The job of a submission to Slurm is the one that shows its token, and no other. The id that sbatch prints may be
another job's, where a site's wrapper of sbatch is wrong. The token stands in the comment, which some sites rewrite,
in the path of the script and the command line, which a wrapper that copies the script changes, and in the text of
the script, which the controller keeps.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hpcorch import tunables
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.files import write_whole
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.entities import Submission
from hpcorch.model.events import (
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionRejected,
    SubmissionReleased,
    SubmissionUnknown,
)
from hpcorch.model.ids import format_ranges, new_token, parse_time
from hpcorch.model.processes import RUNTIME
from hpcorch.model.states import Backend, SubmissionForm
from hpcorch.model.values import digest

if TYPE_CHECKING:
    from hpcorch.slurm.commands import Submitted
    from hpcorch.slurm.protocol import SlurmClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What is known of a submission before it is made.

    :param launch: first run of the launch
    :param runs: array index i executes ``runs[i]``
    :param script: text of the batch script; None if there is none
    :param form: None for tasks of hpcorch
    :param changed: launcher keys that differ from those that the launch was launched with
    :param throttle: ``units`` and ``bound`` of an array that shares throttled resources
    :param at_once: the ``array_parallelism`` that was asked for
    :param tasks: of a packed array
    :param parallel: how many runs each of its tasks executes at once
    """

    launch: int
    runs: Sequence[int]
    backend: Backend
    token: str = field(default_factory=new_token)
    host: str = field(default_factory=socket.gethostname)
    script: bytes | None = None
    form: SubmissionForm | None = None
    changed: Mapping[str, Any] | None = None
    throttle: Mapping[str, Any] | None = None
    at_once: int | None = None
    tasks: int | None = None
    parallel: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRecord:
    """The record of one submission in its sweep's control journal.

    Each method writes one fact, and raises OSError if it cannot be written.
    """

    journal: ControlJournal
    number: int

    @classmethod
    def next(cls, journal: ControlJournal) -> SubmissionRecord:
        """The record of a new submission. Nothing is written; the number stays free until :meth:`intend`."""
        return cls(journal=journal, number=journal.history().next_submission)

    @property
    def layout(self) -> SweepLayout:
        """The sweep directory."""
        return self.journal.layout

    @property
    def submission(self) -> Submission:
        """What is on record of it now."""
        return self.journal.history().submissions[self.number]

    def intend(self, intent: Intent, *, durable: bool = True) -> None:
        """Write its batch script and that it is about to be made: from now on its runs are its own."""
        script = "" if intent.script is None else self._write_script(intent.script, intent.token)
        self.journal.append(
            SubmissionIntended(
                submission=self.number,
                launch=intent.launch,
                runs=format_ranges(intent.runs),
                token=intent.token,
                backend=intent.backend.value,
                host=intent.host,
                script=script,
                script_digest=None if intent.script is None else digest(intent.script),
                changed=dict(intent.changed) if intent.changed else None,
                throttle=dict(intent.throttle) if intent.throttle else None,
                at_once=intent.at_once,
                tasks=intent.tasks,
                parallel=intent.parallel,
                form=None if intent.form is None else intent.form.value,
            ),
            durable=durable,
        )

    def _write_script(self, text: bytes, token: str) -> str:
        path = self.layout.script(self.number, token)
        write_whole(path, text)
        return self.layout.relative(path)

    def mark_accepted(
        self,
        job_id: str,
        *,
        cluster: str | None = None,
        cancelled_duplicates: Sequence[str] = (),
        durable: bool = True,
    ) -> None:
        """It exists, held, under this id of an array or of a local pool."""
        self.journal.append(
            SubmissionAccepted(
                submission=self.number,
                job_id=job_id,
                cluster=cluster,
                cancelled_duplicates=list(cancelled_duplicates),
            ),
            durable=durable,
        )

    def mark_released(self) -> None:
        """Its tasks may start."""
        self.journal.append(SubmissionReleased(submission=self.number), durable=True)

    def mark_rejected(self, reason: str, *, limited: bool = False, absent: bool = False) -> None:
        """It does not exist.

        :param limited: because of a limit on the user's jobs
        :param absent: nobody refused it: it was looked for, and not found
        """
        self.journal.append(
            SubmissionRejected(
                submission=self.number, reason=reason, limited=limited or None, absent=absent or None
            ),
            durable=True,
        )

    def mark_unknown(self, reason: str, *, printed: str | None = None) -> None:
        """Nobody knows whether it exists.

        :param printed: the job id that sbatch printed, if it did
        """
        self.journal.append(SubmissionUnknown(submission=self.number, reason=reason, printed=printed), durable=True)


def look_up(client: SlurmClient, token: str, since: str) -> list[str]:
    """The jobs that show a token in what is listed of all jobs, oldest first.

    :param since: when the submission was tried, as :func:`hpcorch.model.ids.utc_now` writes it
    :raises SlurmUnavailableError: Slurm does not answer
    """
    return client.find_token(token, parse_time(since) - timedelta(seconds=tunables.CLOCK_SKEW_S))


def jobs_with(client: SlurmClient, token: str, since: str, *, printed: Submitted) -> list[str]:
    """The jobs that show the token of a submission that sbatch has answered, oldest first; none if none does.

    :param printed: what sbatch answered; that job is looked at closely, too
    :raises SlurmUnavailableError: Slurm does not answer
    """
    return _jobs_with(client, token, since, printed) or _later(client, token, since, printed)


def _later(client: SlurmClient, token: str, since: str, printed: Submitted) -> list[str]:
    time.sleep(tunables.TOKEN_APPEARS_S)
    return _jobs_with(client, token, since, printed)


def _jobs_with(client: SlurmClient, token: str, since: str, printed: Submitted) -> list[str]:
    found = look_up(client, token, since)
    if printed.job_id not in found and shows(client, printed.job_id, token):
        found.append(printed.job_id)
    return found


def shows(client: SlurmClient, job_id: str, token: str) -> bool:
    """Whether a job shows a token, in its comment or in its batch script.

    :raises SlurmUnavailableError: Slurm does not answer
    """
    return any(token in row.comment for row in client.queue([job_id])) or token in client.script(job_id)


def nothing_shows(printed: Submitted) -> str:
    """That sbatch has answered, and that no job shows the token."""
    job = printed.job_id
    return (
        f"sbatch answered with job {job}, and neither that job nor any other one of yours shows the mark of this"
        " submission, in its comment, its command or its batch script: job"
        f" {job} is left alone. Look at `scontrol show job {job}`: once it is over or cancelled, the submission is"
        " given up, and its runs can be submitted again"
    )


def task_words(
    layout: SweepLayout, *, sweep: str, launch: int, submission: int, runs: Sequence[int], module: str = RUNTIME
) -> list[str]:
    """The command line of a submission's tasks, behind the interpreter and its options."""
    return [
        *("-u", "-m", module, *layout.words, "--sweep", sweep, "--launch", str(launch)),
        *("--submission", str(submission), "--runs", format_ranges(runs)),
    ]
