"""Whose sweep it is: only its owner, on its own cluster, may act on it or conclude that a job is gone.

Others may write to the ledger that it is in (:func:`is_shared`, :mod:`hpcorch.services.tending.own_record`).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch.errors import UnavailableError, UsageError
from hpcorch.journal.access import access_in
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.reader import owner
from hpcorch.model.entities import Sweep
from hpcorch.model.states import Backend
from hpcorch.users import own_name, stranger

if TYPE_CHECKING:
    from hpcorch.ledger.store import Ledger
    from hpcorch.slurm.protocol import SlurmClient


def is_own(sweep: Sweep, layout: SweepLayout | None = None) -> bool:
    """Whether the user of this process submitted the sweep. With PrivateData others do not see all of its jobs.

    :param layout: as for :func:`owner_of`
    """
    return owner_of(sweep, layout) == own_name()


def owner_of(sweep: Sweep, layout: SweepLayout | None = None) -> str:
    """The user whose sweep it is. A record can name anybody, so whose its directory is counts for more.

    :param layout: where the record is; None for where it was made
    """
    layout = layout or SweepLayout(Path(sweep.directory))
    with suppress(OSError):
        if layout.aside is None and owner(layout) not in (sweep.id, None):
            return sweep.user  # another sweep has its place
    return stranger(layout.state) or sweep.user


def is_shared(ledger: Ledger) -> bool:
    """Whether others than this user may write to a ledger."""
    return access_in(ledger.path.parent).writes


def check_own(sweep: Sweep, client: SlurmClient, layout: SweepLayout | None = None) -> None:
    """Refuse another user's sweep, and one that is on another cluster than this machine.

    :param layout: as for :func:`owner_of`
    :raises UsageError: it is one of these
    :raises SlurmUnavailableError: Slurm does not answer
    """
    check_owner(sweep, layout)
    check_cluster(sweep, client)


def check_owner(sweep: Sweep, layout: SweepLayout | None = None) -> None:
    """Refuse another user's sweep.

    :param layout: as for :func:`owner_of`
    :raises UsageError: it is one
    """
    if not is_own(sweep, layout):
        whose = owner_of(sweep, layout)
        raise UsageError(f"sweep {sweep.id} is {whose}'s, and only {whose} can act on its jobs and see all of them")


def check_cluster(sweep: Sweep, client: SlurmClient) -> None:
    """Refuse a sweep that is on another cluster than this machine.

    :raises UsageError: it is
    :raises SlurmUnavailableError: Slurm does not answer
    """
    if sweep.backend is Backend.LOCAL or sweep.cluster is None:
        return
    here = client.config().cluster
    if here != sweep.cluster:
        raise UsageError(
            f"sweep {sweep.id} is on the cluster {sweep.cluster}, and this machine belongs to {here}, where the"
            f" same job ids are other people's jobs: log in to {sweep.cluster}"
        )


def check_may_ask(sweep: Sweep, client: SlurmClient, layout: SweepLayout | None = None) -> None:
    """Only the sweep's owner, on its own cluster, may conclude that a job is absent.

    :param layout: as for :func:`owner_of`
    :raises UnavailableError: this user, or this machine, is another
    :raises SlurmUnavailableError: Slurm does not answer
    """
    if not is_own(sweep, layout):
        whose = owner_of(sweep, layout)
        raise UnavailableError(f"only {whose}, who submitted it, can ask Slurm about all of its jobs")
    if sweep.cluster is not None and (here := client.config().cluster) != sweep.cluster:
        raise UnavailableError(
            f"sweep {sweep.id} is on the cluster {sweep.cluster}, and this machine belongs to {here}, where the"
            f" same job ids are other jobs: ask from a login node of {sweep.cluster}"
        )
