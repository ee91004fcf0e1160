"""What a launch asks of shared resources, sorted by who enforces it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from hpcorch.errors import UsageError
from hpcorch.model.frozen_mapping import FrozenMapping
from hpcorch.quick_dataclasses import dataclass
from hpcorch.resources.profile.marked import suggestion
from hpcorch.resources.profile.profile import Enforcement, Kind, Profile, Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What each run takes of the shared resources.

    :param licenses: licence as Slurm names it -> count
    :param throttles: resource -> shares of its capacity, for as long as the run lives
    :param leases: resource -> slots, while the run holds a lease of it
    """

    licenses: Mapping[str, int] = field(default_factory=dict)
    throttles: Mapping[str, int] = field(default_factory=dict)
    leases: Mapping[str, int] = field(default_factory=dict)


def resolve(profile: Profile, resources: Mapping[str, int]) -> Request:
    """Look up what ``resources={scratch_io: 2}`` means here.

    :param resources: name -> how much of it each run takes
    :raises UsageError: the profile has no such resource, a count is 0 or above the capacity, or the system
        allocates the resource by itself
    """
    licenses: dict[str, int] = {}
    shares: dict[Enforcement, dict[str, int]] = {Enforcement.THROTTLE: {}, Enforcement.LEASE: {}}
    for name, count in resources.items():
        resource = _known(profile, name)
        _check_count(resource, count)
        if resource.enforced is Enforcement.LICENSE:
            license_name = resource.license or name
            licenses[license_name] = licenses.get(license_name, 0) + count
        else:
            shares[resource.enforced][name] = count
    return Request(licenses=licenses, throttles=shares[Enforcement.THROTTLE], leases=shares[Enforcement.LEASE])


def with_licenses(
    asked: FrozenMapping[str, int] | str | None, added: Mapping[str, int]
) -> FrozenMapping[str, int] | str | None:
    """The launcher's key ``licenses`` together with the licences that ``resources`` stands for.

    :raises UsageError: both name one licence, or the key's text offers alternatives, to which nothing can be added
    """
    if not asked or not added:
        return asked or FrozenMapping(added) or None
    if isinstance(asked, Mapping):
        _refuse_twice(set(asked), added)
        return FrozenMapping({**asked, **added})
    if "|" in asked:
        raise UsageError(
            f"licenses={asked!r} offers alternatives, which Slurm cannot combine with {', '.join(added)} from"
            " resources: ask for all of them in one of the two keys."
        )
    _refuse_twice({part.split(":")[0].strip() for part in asked.replace(";", ",").split(",")}, added)
    return ",".join([asked, *(f"{name}:{count}" for name, count in added.items())])


def most_at_once(profile: Profile, request: Request) -> dict[str, int]:
    """How many runs the capacity of each requested throttle lets run at once, in one sweep with nothing beside it.

    Licences are Slurm's to count, and a lease holds back a phase, not a run.
    """
    return {name: profile.resources[name].capacity // count for name, count in request.throttles.items()}


def _known(profile: Profile, name: str) -> Resource:
    if name not in profile.resources:
        cure = "" if profile.source else ", or make a profile with `hpcorch init`"
        raise UsageError(f"{profile.called} has no resource {name!r}{suggestion(name, profile.resources)}{cure}")
    return profile.resources[name]


def _check_count(resource: Resource, count: int) -> None:
    name = resource.name
    if count < 1:  # of `hpcorch sbatch`
        raise UsageError(f"resources.{name} must be a whole number of at least 1, not {count!r}.")
    if resource.enforced is Enforcement.SYSTEM:
        how = "ask for it with gpus_per_node or gres" if resource.kind is Kind.GPU else "a run need not ask for it"
        raise UsageError(f"{name} is allocated by the system itself (enforced: system): {how}.")
    if count > resource.capacity:
        raise UsageError(
            f"A run asks for {count} of {name}, whose capacity is {resource.capacity}: no run could ever start."
        )


def _refuse_twice(asked: set[str], added: Mapping[str, int]) -> None:
    if both := sorted(asked & set(added)):
        raise UsageError(
            f"The licence {both[0]} is asked for by licenses and by resources; which count is meant? Leave one out."
        )
