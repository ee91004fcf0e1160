"""Whose sweep it is: only its owner, on its own cluster, may act on it or conclude that a job is gone."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

from hpcorch.errors import UnavailableError, UsageError
from hpcorch.model.entities import Sweep
from hpcorch.model.states import Backend

if TYPE_CHECKING:
    from hpcorch.slurm.protocol import SlurmClient


def is_own(sweep: Sweep) -> bool:
    """Whether the user of this process submitted the sweep. With PrivateData others do not see all of its jobs."""
    return sweep.user == getpass.getuser()


def check_own(sweep: Sweep, client: SlurmClient) -> None:
    """Refuse another user's sweep, and one that is on another cluster than this machine.

    :raises UsageError: it is one of these
    :raises SlurmUnavailableError: Slurm does not answer
    """
    if not is_own(sweep):
        raise UsageError(
            f"sweep {sweep.id} is {sweep.user}'s, and only {sweep.user} can act on its jobs and see all of them"
        )
    if sweep.backend is Backend.LOCAL or sweep.cluster is None:
        return
    here = client.config().cluster
    if here != sweep.cluster:
        raise UsageError(
            f"sweep {sweep.id} is on the cluster {sweep.cluster}, and this machine belongs to {here}, where the"
            f" same job ids are other people's jobs: log in to {sweep.cluster}"
        )


def check_may_ask(sweep: Sweep, client: SlurmClient) -> None:
    """Only the sweep's owner, on its own cluster, may conclude that a job is absent.

    :raises UnavailableError: this user, or this machine, is another
    :raises SlurmUnavailableError: Slurm does not answer
    """
    if not is_own(sweep):
        raise UnavailableError(f"only {sweep.user}, who submitted it, can ask Slurm about all of its jobs")
    if sweep.cluster is not None and (here := client.config().cluster) != sweep.cluster:
        raise UnavailableError(
            f"sweep {sweep.id} is on the cluster {sweep.cluster}, and this machine belongs to {here}, where the"
            f" same job ids are other jobs: ask from a login node of {sweep.cluster}"
        )
