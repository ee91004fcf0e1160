"""What a sweep may take in the worst case, against what the profile lets it take. Arithmetic, before submission.

In the worst case every run uses all of its time limit, as often as it may be started because of it. Of packed
tasks each does; what they leave over is submitted again, and is not reckoned with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hpcorch.errors import PolicyError
from hpcorch.quick_dataclasses import dataclass
from hpcorch.resources.profile.profile import Kind, Pool, Profile
from hpcorch.resources.request import ANY_GPU, Demand

_RUN, _TASK = "run", "task"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs of a sweep that ask for the same.

    :param demand: of a run, or of a packed task
    :param starts: how often one run may use its whole time limit by ``max_num_timeout`` and ``max_retries``
    :param partition: None is the cluster's default
    :param tasks: how many packed tasks execute them; None where each run has a task of its own
    :param parallel: how many of them a task executes at once
    """

    runs: int
    demand: Demand
    starts: int = 1
    partition: str | None = None
    tasks: int | None = None
    parallel: int = 1

    @property
    def jobs(self) -> int:
        """How many times the demand is made."""
        return self.runs if self.tasks is None else self.tasks

    @property
    def at_once(self) -> int:
        """How many of them can be at work at once."""
        return min(self.runs, self.jobs * self.parallel)

    @property
    def one(self) -> str:
        """What makes the demand, for people."""
        return _RUN if self.tasks is None else _TASK


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """The most that a sweep can take.

    :param at_once: runs at once
    :param bound_by: what keeps it at that, such as "scratch_io"; None where only the number of runs does
    :param gpus: GPUs at once
    :param gpu_hours: None where a run without a time limit uses GPUs; ``cpu_hours`` and ``cost`` likewise
    :param walltime_min: the longest time limit of a run; None where there is none
    :param tasks: how many tasks there are; None where each run has one of its own
    """

    runs: int
    at_once: int
    bound_by: str | None
    gpus: int
    gpu_hours: float | None
    cpu_hours: float | None
    cost: float | None
    walltime_min: int | None
    tasks: int | None = None

    @property
    def one(self) -> str:
        """What has a time limit, for people."""
        return _RUN if self.tasks is None else _TASK


def worst_case(profile: Profile, groups: Sequence[Group], caps: Mapping[str, int] | None = None) -> WorstCase:
    """Compute what a sweep can take.

    :param caps: what keeps runs from running at once -> how many may, such as ``{"array_parallelism": 256}``
    """
    runs = sum(group.runs for group in groups)
    bound_by, at_once = min((caps or {}).items(), key=lambda cap: cap[1], default=(None, runs))
    if at_once >= runs:
        bound_by, at_once = None, runs
    gpu_hours = _hours(groups, lambda demand: demand.gpu_count)
    cpu_hours = _hours(groups, lambda demand: demand.cpus)
    walltimes = [group.demand.walltime_min for group in groups]
    return WorstCase(
        runs=runs,
        at_once=at_once,
        bound_by=bound_by,
        gpus=_gpus_at_once(groups, at_once),
        gpu_hours=gpu_hours,
        cpu_hours=cpu_hours,
        cost=_cost(profile, gpu_hours, cpu_hours),
        walltime_min=None if None in walltimes else max((w for w in walltimes if w is not None), default=0),
        tasks=None if all(group.tasks is None for group in groups) else sum(group.jobs for group in groups),
    )


def check_sweep(
    profile: Profile, groups: Sequence[Group], caps: Mapping[str, int] | None = None, pool: Pool | None = None
) -> WorstCase:
    """Compute what a sweep can take, and refuse it if that is too much.

    :param pool: the pool that the runs go to
    :raises PolicyError: with every limit that is broken, and the numbers
    """
    worst = worst_case(profile, groups, caps)
    broken = violations(profile, groups, worst, pool)
    if broken:
        raise PolicyError(f"{profile.called} forbids this sweep, and nothing was submitted: {'; '.join(broken)}.")
    return worst


def violations(
    profile: Profile, groups: Sequence[Group], worst: WorstCase, pool: Pool | None = None
) -> tuple[str, ...]:
    """Each limit that a sweep would exceed, as a phrase with the numbers."""
    return (
        *_of_envelope(profile, worst),
        *_of_policies(profile, groups, worst),
        *(_of_pool(pool, groups) if pool is not None else ()),
        *_of_gpus(profile, groups),
    )


def _of_envelope(profile: Profile, worst: WorstCase) -> list[str]:
    limits = profile.envelope
    broken = [
        _above("runs", worst.runs, "envelope.max_runs", limits.max_runs),
        _above("GPUs at once", worst.gpus, "envelope.max_gpus", limits.max_gpus),
        _above("GPU-hours in the worst case", worst.gpu_hours, "envelope.max_gpu_hours", limits.max_gpu_hours),
        _above(f"minutes a {worst.one}", worst.walltime_min, "envelope.max_walltime_min", limits.max_walltime_min),
    ]
    return [phrase for phrase in broken if phrase]


def _of_policies(profile: Profile, groups: Sequence[Group], worst: WorstCase) -> list[str]:
    policies, currency = profile.policies, profile.prices.currency
    broken = [_above(f"{currency} in the worst case", worst.cost, "policies.max_cost", policies.max_cost)]
    allowed = policies.partitions
    if allowed is not None:
        asked = {group.partition for group in groups}
        broken += [
            f"partition {partition} is not one of policies.partitions ({', '.join(allowed)})"
            for partition in sorted(asked - {None, *allowed}, key=str)
        ]
        if None in asked:
            cure = f"name one (hydra.launcher.partition={allowed[0]}; --partition={allowed[0]} of sbatch) or a pool"
            broken.append(
                f"no partition is named, and policies.partitions allows only {', '.join(allowed)}"
                f"{f': {cure}' if allowed else ''}"
            )
    return [phrase for phrase in broken if phrase]


def _of_pool(pool: Pool, groups: Sequence[Group]) -> list[str]:
    limits = pool.limits
    broken = []
    for group in {group.demand.walltime_min: group for group in groups}.values():
        name = f"max_walltime_min of pool {pool.name}"
        broken.append(_above(f"minutes a {group.one}", group.demand.walltime_min, name, limits.max_walltime_min))
    most = max(groups, key=lambda group: group.demand.gpu_count, default=None)
    if most is not None:
        name = f"max_gpus of pool {pool.name}"
        broken.append(_above(f"GPUs for one {most.one}", most.demand.gpu_count, name, limits.max_gpus))
    return [phrase for phrase in broken if phrase]


def _of_gpus(profile: Profile, groups: Sequence[Group]) -> list[str]:
    """A run that asks for more GPUs than the profile knows could never start."""
    capacity: dict[str, int] = {}
    for resource in profile.resources.values():
        if resource.kind is Kind.GPU:
            kind = resource.gpu_type or ANY_GPU
            capacity[kind] = capacity.get(kind, 0) + resource.capacity
    broken = []
    for kind, there in capacity.items():
        largest = max(groups, key=lambda group: _count(group.demand, kind), default=None)
        most = 0 if largest is None else _count(largest.demand, kind)
        if largest is not None and most > there:
            of = f" of type {kind}" if kind else ""
            broken.append(f"one {largest.one} asks for {most} GPUs{of}, and there are {there}")
    return broken


def _count(demand: Demand, kind: str) -> int:
    return demand.gpu_count if kind == ANY_GPU else demand.gpus.get(kind, 0)


def _above(what: str, value: float | None, name: str, limit: float | None) -> str:
    if limit is None or (value is not None and value <= limit):
        return ""
    if value is None:
        return f"without a time limit the number of {what} is unknown, and {name} is {limit:g}: set timeout_min"
    return f"{value:g} {what}, and {name} is {limit:g}"


def _hours(groups: Sequence[Group], amount: Callable[[Demand], int]) -> float | None:
    total = 0.0
    for group in groups:
        if used := amount(group.demand):
            if group.demand.walltime_min is None:
                return None
            total += used * group.jobs * group.starts * group.demand.walltime_min / 60
    return total


def _gpus_at_once(groups: Sequence[Group], at_once: int) -> int:
    """The GPUs of the runs that use most of them, as many as can run at once."""
    total, left = 0, at_once
    for group in sorted(groups, key=lambda group: group.demand.gpu_count, reverse=True):
        jobs = min(-(-left // group.parallel), group.jobs)
        total += jobs * group.demand.gpu_count
        left -= min(left, jobs * group.parallel, group.runs)
    return total


def _cost(profile: Profile, gpu_hours: float | None, cpu_hours: float | None) -> float | None:
    prices = profile.prices
    if (gpu_hours is None and prices.gpu_hour) or (cpu_hours is None and prices.cpu_hour):
        return None
    return (gpu_hours or 0.0) * prices.gpu_hour + (cpu_hours or 0.0) * prices.cpu_hour
