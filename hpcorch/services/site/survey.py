"""What a cluster says about itself to an ordinary user: the facts that ``init`` writes and ``doctor`` compares."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.site.user_limits import Accounting, ask_accounting, limits_here, tried
from hpcorch.slurm import commands
from hpcorch.slurm.answers import scontrol
from hpcorch.slurm.answers.limits import Limits
from hpcorch.slurm.answers.scontrol import ClusterConfig, License, Partition
from hpcorch.slurm.answers.settings import Settings, parse_settings
from hpcorch.slurm.protocol import SlurmClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """One look at the cluster and at this machine. ``None`` where the site does not answer.

    :param ahead_s: seconds by which the controller's clock is ahead of this host's; its answer is to the second
    :param gpus: GPU type -> how many all nodes have; empty text where they have no type
    :param database: sacct is answered; False also where the cluster has no database, which ``config`` says
    :param limits: partition -> what this user may have with Slurm in it, under the default account and QOS
    :param open_files: how many files a process may have open here (``ulimit -n``); None is without limit
    """

    config: ClusterConfig
    settings: Settings
    ahead_s: float | None
    licenses: Sequence[License] | None
    partitions: Sequence[Partition] | None
    gpus: Mapping[str, int] | None
    reservations: Sequence[str] | None
    database: bool
    accounting: Accounting | None
    limits: Mapping[str, Limits]
    open_files: int | None


def survey(client: SlurmClient) -> Survey:
    """Look, with about twelve inquiries.

    :raises SlurmUnavailableError: the controller does not answer
    """
    config = client.config()
    settings, ahead_s = _settings(client)
    accounting = ask_accounting(client)
    known = tried(client.partitions)
    limits = {
        one.name: limits_here(client, accounting, known or (), partition=one.name, qos=None, account=None)
        for one in known or ()
    }
    return Survey(
        config=config,
        settings=settings,
        ahead_s=ahead_s,
        licenses=tried(client.licenses),
        partitions=known,
        gpus=tried(lambda: scontrol.parse_gpus(client.ask(scontrol.show_nodes()))),
        reservations=tried(lambda: scontrol.parse_reservations(client.ask(scontrol.show_reservations()))),
        database=tried(lambda: client.accounting(["1"], datetime.now(timezone.utc))) is not None,
        accounting=accounting,
        limits=limits,
        open_files=open_files(),
    )


def _settings(client: SlurmClient) -> tuple[Settings, float | None]:
    """The settings, and how far ahead the controller's clock is, if it says what time it has."""
    asked = time.time()
    settings = parse_settings(client.ask(commands.scontrol_config()))
    answered = time.time()
    if settings.told_at is None:
        return settings, None
    told = settings.told_at.timestamp()  # at that second or within it
    return settings, min(0.0, told + 1 - asked) + max(0.0, told - answered)


def open_files() -> int | None:
    """How many files a process may have open here; None is without limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
