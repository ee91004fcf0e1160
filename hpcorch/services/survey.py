"""What a cluster says about itself to an ordinary user: the facts that ``init`` writes and ``doctor`` compares."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcorch.services.limits import Accounting, ask_accounting, limits_here, tried
from hpcorch.slurm import commands, partitions
from hpcorch.slurm.client import CliClient
from hpcorch.slurm.limits import Limits
from hpcorch.slurm.partitions import Partition
from hpcorch.slurm.scontrol import License


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """One look at the cluster and at this machine. ``None`` where the site does not answer.

    :param gpus: GPU type -> how many all nodes have; empty text where they have no type
    :param limits: partition -> what this user may have with Slurm in it, under the default account and QOS
    :param open_files: how many files a process may have open here (``ulimit -n``); None is without limit
    """

    cluster: str
    version: str
    max_array_size: int
    licenses: Sequence[License] | None
    partitions: Sequence[Partition] | None
    gpus: Mapping[str, int] | None
    reservations: Sequence[str] | None
    accounting: Accounting | None
    limits: Mapping[str, Limits]
    open_files: int | None


def survey(client: CliClient) -> Survey:
    """Look, with about nine inquiries.

    :raises SlurmUnavailableError: the controller does not answer
    """
    config = client.config()
    accounting = ask_accounting(client)
    known = tried(lambda: partitions.parse_partitions(client.ask(commands.scontrol_partitions())))
    limits = {
        one.name: limits_here(client, accounting, known or (), partition=one.name, qos=None, account=None)
        for one in known or ()
    }
    return Survey(
        cluster=config.cluster,
        version=config.version,
        max_array_size=config.max_array_size,
        licenses=tried(client.licenses),
        partitions=known,
        gpus=tried(lambda: partitions.parse_gpus(client.ask(partitions.show_nodes()))),
        reservations=tried(lambda: partitions.parse_reservations(client.ask(partitions.show_reservations()))),
        accounting=accounting,
        limits=limits,
        open_files=_open_files(),
    )


def _open_files() -> int | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
