"""Shared resources: how much of each there is, who uses it, who waits for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpcorch.errors import HpcorchError
from hpcorch.quick_dataclasses import dataclass
from hpcorch.resources.leases.listing import LeaseOwner, holders, waiting
from hpcorch.resources.profile.profile import Enforcement, Profile, Resource
from hpcorch.services.throttling.state import state_directory
from hpcorch.services.throttling.throttles import Throttles
from hpcorch.services.throttling.usage import ResourceUse
from hpcorch.slurm import commands
from hpcorch.slurm.answers.squeue import LicenseHolder, parse_license_holders
from hpcorch.slurm.choose import slurm_client
from hpcorch.slurm.protocol import SlurmClient
from hpcorch.users import own_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What one user, sweep or run has of a resource."""

    who: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedResource:
    """One resource, as it stands.

    :param capacity: None where nobody has said
    :param in_use: None where that is not known
    :param waiting: jobs or tasks that wait for it
    :param trouble: why it could not be looked at; empty if it was
    """

    name: str
    enforced: Enforcement
    capacity: int | None
    unit: str = ""
    in_use: int | None = None
    uses: Sequence[Use] = ()
    waiting: int = 0
    trouble: str = ""

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "name": self.name,
            "enforced": self.enforced.value,
            "unit": self.unit,
            "capacity": self.capacity,
            "in_use": self.in_use,
            "uses": [{"who": one.who, "amount": one.amount} for one in self.uses],
            "waiting": self.waiting,
            "trouble": self.trouble or None,
        }


def shared_resources(profile: Profile, client: SlurmClient | None = None) -> list[SharedResource]:
    """Every resource of the profile, and every licence of the cluster. One that cannot be read says why."""
    client = client or slurm_client()
    by_kind = {kind: [one for one in profile.resources.values() if one.enforced is kind] for kind in Enforcement}
    return [
        *_licenses(by_kind[Enforcement.LICENSE], client),
        *_throttles(by_kind[Enforcement.THROTTLE], client),
        *(_lease(resource) for resource in by_kind[Enforcement.LEASE]),
        *(_plain(resource) for resource in by_kind[Enforcement.SYSTEM]),
    ]


def _plain(resource: Resource, *, trouble: str = "") -> SharedResource:
    return SharedResource(
        name=resource.name,
        enforced=resource.enforced,
        capacity=resource.capacity,
        unit=resource.unit,
        trouble=trouble,
    )


def _licenses(named: Sequence[Resource], client: SlurmClient) -> Iterator[SharedResource]:
    try:
        known = client.licenses()
        jobs = parse_license_holders(client.ask(commands.squeue_licenses())) if known else []
    except HpcorchError as error:
        yield from (_plain(resource, trouble=str(error)) for resource in named)
        return
    names = {resource.license or resource.name: resource for resource in named}
    for one in known:
        resource = names.pop(one.name, None)
        mine = [job for job in jobs if one.name in job.licenses]
        yield SharedResource(
            name=resource.name if resource is not None else one.name,
            enforced=Enforcement.LICENSE,
            capacity=one.total,
            unit=resource.unit if resource is not None else "",
            in_use=one.used,
            uses=_by_user(job for job in mine if job.running for _ in range(job.licenses[one.name])),
            waiting=sum(not job.running for job in mine),
        )
    for name, resource in names.items():
        yield _plain(resource, trouble=f"the cluster has no licence {name!r}")


def _by_user(jobs: Iterator[LicenseHolder]) -> list[Use]:
    return [Use(who=user, amount=count) for user, count in Counter(job.user for job in jobs).most_common()]


def _throttles(named: Sequence[Resource], client: SlurmClient) -> list[SharedResource]:
    capacities = {resource.name: resource.capacity for resource in named}
    try:
        found = Throttles(state_directory(), client.config().cluster, client).view(capacities)
    except HpcorchError as error:
        return [_plain(resource, trouble=str(error)) for resource in named]
    units = {resource.name: resource.unit for resource in named}
    return [_throttle(use, units) for use in found]


def _throttle(use: ResourceUse, units: Mapping[str, str]) -> SharedResource:
    return SharedResource(
        name=use.name,
        enforced=Enforcement.THROTTLE,
        capacity=use.capacity,
        unit=units.get(use.name, ""),
        in_use=use.in_use,
        uses=[Use(who=f"sweep {one.sweep}", amount=one.in_use) for one in use.sweeps if one.in_use],
        waiting=use.waiting,
    )


def _lease(resource: Resource) -> SharedResource:
    assert resource.directory is not None
    folder = Path(resource.directory)
    try:
        held = [one for one in holders(folder) if one.resource == resource.name and not one.expired]
        queued = [one for one in waiting(folder) if one.resource == resource.name and not one.expired]
    except HpcorchError as error:
        return _plain(resource, trouble=str(error))
    return SharedResource(
        name=resource.name,
        enforced=resource.enforced,
        capacity=resource.capacity,
        unit=resource.unit,
        in_use=sum(one.count for one in held),
        uses=[Use(who=_holder(one), amount=one.count) for one in held],
        waiting=len(queued),
    )


def _holder(owner: LeaseOwner) -> str:
    run = f"run {owner.run}" if owner.run else f"process {owner.pid} on {owner.host}"
    return run if owner.user in (None, own_name()) else f"{owner.user}: {run}"
