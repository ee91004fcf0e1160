"""What a run occupies while it runs, and what a launch requests of shared resources, sorted by who enforces it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from hpcorch.errors import UsageError
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.values import FrozenMapping
from hpcorch.quick_dataclasses import dataclass
from hpcorch.resources.profile.marked import suggestion
from hpcorch.resources.profile.profile import Enforcement, Kind, Profile, Resource

ANY_GPU = ""
_GPU = re.compile(r"(?:gres[/:])?gpu(?:[:=](?P<rest>.*))?")
_DAYS_AND_HOURS = re.compile(r"(\d+)-(\d+)(?::(\d+))?(?::(\d+))?")
_CLOCK = re.compile(r"(\d+)(?::(\d+))?(?::(\d+))?")
_ENDLESS = ("infinite", "unlimited", "-1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One run's share of the cluster.

    :param gpus: GPU type -> count over all nodes; :data:`ANY_GPU` where no type is named
    :param cpus: over all nodes
    :param walltime_min: None where the partition's own limit counts, or none
    """

    cpus: int = 1
    walltime_min: int | None = None
    gpus: Mapping[str, int] = field(default_factory=dict)

    @property
    def gpu_count(self) -> int:
        """GPUs of all types."""
        return sum(self.gpus.values())


def demand_of(keys: LaunchKeys) -> Demand:
    """What a run with these launcher keys occupies. Flags in ``additional_parameters`` win, as they do for sbatch.

    :raises UsageError: a number of GPUs, nodes or tasks, or a time, cannot be read
    """
    flags = keys.flags
    nodes = _highest(flags.get("nodes", keys.nodes))
    tasks = nodes * _highest(flags.get("ntasks-per-node", keys.tasks_per_node))
    tasks = _highest(flags.get("ntasks", tasks))
    gpus = _gpus(keys, nodes=nodes, tasks=tasks)
    cpus = tasks * _highest(flags.get("cpus-per-task", keys.cpus_per_task or 1))
    by_gpu = _highest(flags.get("cpus-per-gpu", keys.cpus_per_gpu or 0)) * sum(gpus.values())
    time = parse_minutes(str(flags["time"])) if flags.get("time") else keys.timeout_min or None
    return Demand(cpus=max(cpus, by_gpu, 1), walltime_min=time, gpus=gpus)


def _gpus(keys: LaunchKeys, *, nodes: int, tasks: int) -> dict[str, int]:
    """The largest of the ways that GPUs are asked for: Slurm takes them as conditions on one number."""
    flags = keys.flags
    asked = [
        (flags.get("gpus-per-node", keys.gpus_per_node), nodes),
        (flags.get("gpus-per-task", keys.gpus_per_task), tasks),
        (_gpus_of_gres(flags.get("gres", keys.gres)), nodes),
        (flags.get("gpus"), 1),
    ]
    found = [{kind: count * times for kind, count in parse_gpus(text).items()} for text, times in asked if text]
    return max(found, key=lambda counts: sum(counts.values()), default={})


def parse_gpus(value: object) -> dict[str, int]:
    """Read ``2``, ``a100``, ``a100:2`` or ``a100:2,h100:1``.

    :raises UsageError: it is none of these
    """
    found: dict[str, int] = {}
    for part in str(value).split(","):
        kind, colon, count = part.strip().rpartition(":")
        if not colon:
            kind, count = (ANY_GPU, part.strip()) if part.strip().isdigit() else (part.strip(), "1")
        if not count.isdigit() or (not kind and colon):
            raise UsageError(f"{value!r} is not a number of GPUs: write a count, or type:count such as a100:2.")
        found[kind] = found.get(kind, 0) + int(count)
    return {kind: count for kind, count in found.items() if count}


def parse_minutes(text: str) -> int | None:
    """Read a time limit as sbatch's ``--time`` takes it, in whole minutes, rounded up; None is without limit.

    :raises UsageError: it is no time limit
    """
    text = text.strip()
    if text.lower() in _ENDLESS or text == "0":
        return None
    if days := _DAYS_AND_HOURS.fullmatch(text):
        day, hour, minute, second = (int(part or 0) for part in days.groups())
    elif clock := _CLOCK.fullmatch(text):
        parts = [int(part) for part in clock.groups() if part is not None]
        # One number is minutes, two are minutes and seconds, three begin with hours.
        hour, minute, second = {1: (0, *parts, 0), 2: (0, *parts), 3: tuple(parts)}[len(parts)]
        day = 0
    else:
        raise UsageError(f"{text!r} is not a time limit: write minutes, or days-hours:minutes:seconds.")
    return day * 1440 + hour * 60 + minute + (second > 0)


def _gpus_of_gres(gres: Any) -> str:
    """The GPUs among generic resources (``gpu:a100:2,nvme:1``), without the word."""
    return ",".join(_rests(str(gres).split(","))) if gres else ""


def _rests(parts: Iterable[str]) -> Iterable[str]:
    for part in parts:
        match = _GPU.fullmatch(part.strip())
        if match is not None:
            yield match["rest"] or "1"


def _highest(value: Any) -> int:
    """A count, of which Slurm also takes ranges (``2-4``) where nodes are meant."""
    text = str(value).rpartition("-")[2].strip()
    if not text.isdigit():
        raise UsageError(f"{value!r} is not a number of nodes, tasks or CPUs.")
    return int(text)


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
        how = "ask for it with gpus_per_node or gres" if resource.kind is Kind.GPU else "runs need not ask for it"
        raise UsageError(f"{name} is allocated by the system itself (enforced: system): {how}.")
    if count > resource.capacity:
        raise UsageError(
            f"A run asks for {count} of {name}, whose capacity is {resource.capacity}: no run could ever start."
        )


def _refuse_twice(asked: set[str], added: Mapping[str, int]) -> None:
    if both := sorted(asked & set(added)):
        raise UsageError(f"The licence {both[0]} is given in both licenses and resources: leave one out.")
