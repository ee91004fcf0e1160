"""The protocol through which services talk to one cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from hpcorch.slurm.answers.sacct import AccountingRow
from hpcorch.slurm.answers.scontrol import ClusterConfig, License, Partition
from hpcorch.slurm.answers.squeue import QueueRow
from hpcorch.slurm.commands import Submitted


class SlurmClient(Protocol):
    """What the rest of hpcorch asks of one cluster. Not thread-safe: one thread at a time.

    Every call ends within a time limit. Each may raise :class:`SlurmUnavailableError`, after which the same call
    can be made again. Job ids are text: ``369`` for a job or a whole array, ``369_3`` for one element.
    """

    def submit(self, script: Path, *, env: Mapping[str, str] | None = None, extra: Sequence[str] = ()) -> Submitted:
        """Submit a batch script, once: never tried again here.

        :param env: the environment that is handed to the job (the caller's own by default); it is cleaned of any
            surrounding job
        :param extra: flags of sbatch that win over the script's
        :raises SubmissionRejectedError: Slurm said no; nothing exists
        :raises SlurmUnavailableError: Slurm was not reached; nothing exists
        :raises SubmissionUnknownError: the job may exist; settle it by its token
        """

    def check(
        self, script: Path, *, env: Mapping[str, str] | None = None, extra: Sequence[str] = ()
    ) -> datetime | None:
        """Ask whether a script would be accepted and could ever run; nothing is submitted.

        A held job is accepted even if no node can ever run it (measured), so this is asked first.

        :return: when Slurm would start its first element if it were submitted now (an aware time), if Slurm says so
        :raises SubmissionRejectedError: it would not; other outcomes than a clear no pass
        """

    def queue(self, job_ids: Iterable[str]) -> list[QueueRow]:
        """What the controller knows of these jobs, one row per element, in one request.

        An id that it does not know, or forgot after MinJobAge, is absent from the answer; no id asks nothing.
        So is an element that was cancelled alone before it ever started: Slurm keeps no trace of it, and the
        database has no row of it or says PENDING (measured on 22.05, 24.11 and 26.05).
        """

    def accounting(self, job_ids: Iterable[str], since: datetime) -> list[AccountingRow] | None:
        """What the accounting database has, one row per attempt; it may be late. ``None``: there is no database.

        An array that is cancelled as a whole while it waits may be one row without index, which stands for every
        element that has no row of its own. One row without index that has a node is of the element that began last,
        whose index the database of 22.05 gets seconds later (measured).

        :param since: aware time before the jobs were submitted; ids are recycled
        """

    def find_token(self, token: str, since: datetime) -> list[str]:
        """Ids of our own jobs whose comment, script's path or command line holds the token, oldest first.

        The controller shows a job at once. The database, asked too if there is one, follows within seconds, and
        lists no held job that was never free to start (measured on 22.05, 24.11 and 26.05). A job that an
        ``sbatch`` still in flight makes is not there yet.

        :param since: aware time before the submission was tried
        """

    def script(self, job_id: str) -> str:
        """The batch script that the controller has of one of our own jobs; empty if it shows none.

        It is there at once, also of a held array, whatever way the script was handed to ``sbatch`` (measured on
        22.05, 24.11 and 26.05).
        """

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Cancel jobs, or elements (``369_3``, ``369_[0,2-4]``), in one call.

        Those that are over, or unknown, are left alone.
        """

    def signal(self, job_ids: Sequence[str], name: str) -> None:
        """Send a signal (``USR2``) to running jobs or elements, in one call. Those that are over are left alone.

        A task without ``srun`` gets it once, and what it has started does not. With ``srun`` every process of every
        task gets it once (measured on 22.05, 24.11 and 26.05). Waiting ones must not be named: scancel would wait
        until they start.
        """

    def hold(self, job_ids: Sequence[str]) -> None:
        """Keep waiting elements from starting. Those that are over are left alone.

        :raises NotFoundError: the controller does not know one of them; the others are held
        """

    def release(self, job_ids: Sequence[str]) -> None:
        """Let held elements start. Errors as for :meth:`hold`."""

    def requeue(self, job_ids: Sequence[str]) -> None:
        """End running elements and queue them again, with a higher restart count. Errors as for :meth:`hold`."""

    def update_throttle(self, job_id: str, tasks: int) -> None:
        """Let at most ``tasks`` (at least 1) elements of an array run at once; what runs goes on running.

        :raises ValueError: ``tasks`` is below 1, which Slurm would read as no limit
        :raises NotFoundError: the controller does not know the array
        """

    def licenses(self) -> list[License]:
        """The cluster's licences and their use, by all users."""

    def config(self) -> ClusterConfig:
        """The controller's configuration, asked once."""

    def partitions(self) -> list[Partition]:
        """The partitions that this user may see, asked once."""

    def ask(self, argv: Sequence[str]) -> str:
        """The output of one of Slurm's query commands, for questions that few callers have.

        :raises SlurmUnavailableError: it failed, or there are no commands here
        """

    def available(self) -> bool:
        """Whether Slurm's commands are here and the controller answers."""
