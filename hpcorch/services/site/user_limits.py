"""The limits on a user's jobs on this cluster; none where the site has no database or hides them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from hpcorch.errors import SlurmUnavailableError
from hpcorch.quick_dataclasses import dataclass
from hpcorch.slurm.answers import limits
from hpcorch.slurm.answers.limits import Association, Limits, Qos
from hpcorch.slurm.answers.scontrol import Partition
from hpcorch.slurm.protocol import SlurmClient
from hpcorch.users import own_name

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """What the accounting database lets a user see of its own limits.

    :param associations: the user's own
    :param accounts: the accounts' own rows, empty where the site hides them
    """

    associations: Sequence[Association]
    accounts: Sequence[Association]
    qos: Sequence[Qos]
    default_account: str | None


def ask_accounting(client: SlurmClient) -> Accounting | None:
    """Ask the database about this user; None if there is none, or it does not answer.

    :raises SlurmUnavailableError: the controller does not answer
    """
    config = client.config()
    if not config.accounting:
        return None

    def ask() -> Accounting:
        default, mine = limits.parse_user(client.ask(limits.show_user(own_name(), config.cluster)))
        return Accounting(
            associations=mine,
            accounts=limits.parse_accounts(client.ask(limits.show_accounts(config.cluster))),
            qos=limits.parse_qos(client.ask(limits.show_qos())),
            default_account=default,
        )

    return tried(ask)


def user_limits(
    client: SlurmClient, *, partition: str | None = None, qos: str | None = None, account: str | None = None
) -> Limits:
    """What this user may have with Slurm in a partition, under a QOS and an account (Slurm's defaults for None).

    The controller's MaxJobCount holds for all users together, and so for one. At most five inquiries (about 0.6 s
    with slurmdbd). What is not known does not limit: the answer's ``source`` says why.

    :raises SlurmUnavailableError: the controller does not answer
    """
    accounting = ask_accounting(client) if client.config().enforces_limits else None
    known = tried(client.partitions) or ()
    found = limits_here(client, accounting, known, partition=partition, qos=qos, account=account)
    memory = client.config().max_job_count
    if found.max_submit is not None and found.max_submit <= memory:
        return found
    return replace(found, max_submit=memory, source=f"{memory} submitted by MaxJobCount ({found.source})")


def limits_here(
    client: SlurmClient,
    accounting: Accounting | None,
    known: Sequence[Partition],
    *,
    partition: str | None,
    qos: str | None,
    account: str | None,
) -> Limits:
    """The same from answers that are already there."""
    config = client.config()
    if not config.enforces_limits:
        return Limits(max_array_size=config.max_array_size, source="the cluster enforces no limits")
    if accounting is None:
        return Limits(max_array_size=config.max_array_size, source="no accounting database answers")
    where = next((one for one in known if (one.name == partition if partition else one.default)), None)
    mine = limits.association_of(
        accounting.associations,
        account=account or accounting.default_account,
        partition=where.name if where else partition,
    )
    return limits.limits_for(
        mine,
        accounting.accounts,
        accounting.qos,
        max_array_size=config.max_array_size,
        qos=qos,
        partition_qos=where.qos if where else None,
    )


def tried(ask: Callable[[], _T]) -> _T | None:
    """An answer, or None where the site does not give it."""
    try:
        return ask()
    except SlurmUnavailableError as error:
        _log.info("%s", error)
        return None
