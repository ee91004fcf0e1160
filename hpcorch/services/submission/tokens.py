"""Which job a submission is: the one that shows its token, and no other.

The id that sbatch prints may be another job's, where a site's wrapper of sbatch is wrong. The token stands in the
comment, which some sites rewrite, in the path of the script and the command line, which a wrapper that copies the
script changes, and in the text of the script, which the controller keeps.
"""

from __future__ import annotations

import time
from datetime import timedelta

from hpcorch import tunables
from hpcorch.model.ids import parse_time
from hpcorch.slurm.commands import Submitted
from hpcorch.slurm.protocol import SlurmClient


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
