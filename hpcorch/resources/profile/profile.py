"""The site profile: what runs share on a cluster, how much of it there is, and what a sweep may take.

:mod:`hpcorch.resources.profile.file` reads it. Without a file everything here is empty and nothing is limited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum

from hpcorch.errors import UsageError
from hpcorch.quick_dataclasses import dataclass
from hpcorch.resources.profile.marked import suggestion

DEFAULT_EXPIRY_S = 60.0
DEFAULT_CURRENCY = "credits"


class Kind(Enum):
    """What a resource is, for people and for checks against the cluster."""

    GPU = "gpu"
    STORAGE = "storage"
    NETWORK = "network"
    FILES = "file_descriptors"
    DATABASE = "database"
    API = "api_tokens"
    OTHER = "other"


class Enforcement(Enum):
    """Who enforces a capacity.

    ``license``: Slurm, over all users. ``throttle``: hpcorch, over all of a user's sweeps. ``lease``: the holders
    themselves, while they need it. ``system``: Slurm (GPUs) or the kernel (open files) without being asked; such a
    resource is known and checked, and never requested by name.
    """

    LICENSE = "license"
    THROTTLE = "throttle"
    LEASE = "lease"
    SYSTEM = "system"


class CleanGit(Enum):
    """What happens to a launch from a git checkout with uncommitted changes."""

    REFUSE = "refuse"
    WARN = "warn"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something countable that runs share.

    :param name: what launches ask for it by: its key below ``resources``
    :param capacity: how much of it there is; a whole number
    :param enforced: who keeps the capacity
    :param kind: what it is, for checks against the cluster
    :param unit: what is counted, such as "writers" or "Gbit/s"
    :param description: for people
    :param license: Slurm's name of the licence (enforced as ``license``)
    :param directory: where the lease files are, group-writable (enforced as ``lease``)
    :param expiry_s: seconds without a sign of life after which a lease is taken back
    :param gpu_type: the GPU type as Slurm's GRES names it (kind ``gpu``); None is GPUs of any type
    """

    name: str
    capacity: int
    enforced: Enforcement
    kind: Kind = Kind.OTHER
    unit: str = ""
    description: str = ""
    license: str | None = None
    directory: str | None = None
    expiry_s: float = DEFAULT_EXPIRY_S
    gpu_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """What may be taken of a pool by one user; None is without limit.

    :param max_running: runs at once
    :param max_submitted: runs with Slurm at once, waiting or running
    :param max_gpus: GPUs at once
    :param max_walltime_min: minutes that a run may ask for
    """

    max_running: int | None = None
    max_submitted: int | None = None
    max_gpus: int | None = None
    max_walltime_min: int | None = None

    def at_once(self, gpus: int) -> int | None:
        """How many runs that use this many GPUs each may run at once; None is without limit."""
        by_gpus = self.max_gpus // gpus if self.max_gpus is not None and gpus else None
        limits = [limit for limit in (self.max_running, by_gpus) if limit is not None]
        return min(limits, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A named way to ask Slurm for room: the launcher's keys of the same names, and limits.

    :param name: what launches ask for it by: its key below ``pools``
    :param description: for people
    :param partition: as the launcher's key; a launch that sets the key itself wins
    :param qos: likewise
    :param account: likewise
    :param reservation: likewise
    :param nice: likewise
    :param limits: what may be taken of it
    """

    name: str
    description: str = ""
    partition: str | None = None
    qos: str | None = None
    account: str | None = None
    reservation: str | None = None
    nice: int | None = None
    limits: PoolLimits = field(default_factory=PoolLimits)

    def options(self) -> dict[str, str | int]:
        """The launcher's keys that the pool decides, with their values."""
        asked = {key: getattr(self, key) for key in ("partition", "qos", "account", "reservation", "nice")}
        return {key: value for key, value in asked.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The most that one sweep may take in the worst case; None is without limit.

    :param max_gpus: GPUs at once
    :param max_gpu_hours: if every run uses all of its time limit, as often as it may be requeued or retried
    :param max_runs: runs
    :param max_walltime_min: minutes that a run may ask for
    """

    max_gpus: int | None = None
    max_gpu_hours: float | None = None
    max_runs: int | None = None
    max_walltime_min: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """Rules of the site.

    :param clean_git: what happens to a launch from a checkout with uncommitted changes
    :param partitions: those that may be used; None is all
    :param max_cost: the most that one sweep may cost in the worst case, in the currency of the prices
    """

    clean_git: CleanGit = CleanGit.IGNORE
    partitions: tuple[str, ...] | None = None
    max_cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What an hour costs, in any currency or in credits.

    :param gpu_hour: of one GPU
    :param cpu_hour: of one CPU
    :param currency: the unit of costs
    """

    gpu_hour: float = 0.0
    cpu_hour: float = 0.0
    currency: str = DEFAULT_CURRENCY


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """All of a site profile.

    :param source: the file that it was read from, None for the empty profile of a site that has none
    :param cluster: the cluster that it is about, by Slurm's ClusterName; None is any
    :param resources: name -> resource
    :param pools: name -> pool
    :param envelope: the most that one sweep may take
    :param policies: rules for launches
    :param prices: what an hour costs, for ``policies.max_cost``
    :param headroom: how many submitted jobs to leave for the user's other work; None is a small share of the limit
    """

    source: str | None = None
    cluster: str | None = None
    resources: Mapping[str, Resource] = field(default_factory=dict)
    pools: Mapping[str, Pool] = field(default_factory=dict)
    envelope: Envelope = field(default_factory=Envelope)
    policies: Policies = field(default_factory=Policies)
    prices: Prices = field(default_factory=Prices)
    headroom: int | None = None

    @property
    def called(self) -> str:
        """The profile as the subject of a sentence."""
        return f"The site profile {self.source}" if self.source else "The empty site profile (no file was found)"

    def pool(self, name: str) -> Pool:
        """A pool by its name.

        :raises UsageError: there is none of that name
        """
        if name not in self.pools:
            raise UsageError(f"{self.called} has no pool {name!r}{suggestion(name, self.pools)}")
        return self.pools[name]
