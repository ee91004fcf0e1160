"""The terms of a submission: launcher keys, completed from ``pool`` and ``resources`` of the site profile.

What is recorded and submitted are the keys that result, so a profile that is edited later changes nothing of what
was launched; only the capacities of throttles are looked up anew.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hpcorch.errors import UsageError
from hpcorch.model.keys.launch_keys import DEFAULT_PARALLELISM, LaunchKeys
from hpcorch.model.values import FrozenMapping
from hpcorch.resources.envelope import Group, WorstCase, check_sweep
from hpcorch.resources.profile.profile import Pool, Profile
from hpcorch.resources.request import demand_of, most_at_once, resolve, with_licenses
from hpcorch.services.site.project_profile import LicenseAnswer, ask_licenses
from hpcorch.slurm.protocol import SlurmClient

_PARALLEL = "array_parallelism"
_PACKED = "runs_per_task"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What some runs, which ask for the same, are submitted with.

    :param keys: the launcher's keys that result
    :param caps: what keeps runs from running at once -> how many may, each for itself
    """

    keys: LaunchKeys
    pool: Pool | None
    caps: Mapping[str, int]


def terms_of(profile: Profile, keys: LaunchKeys) -> Terms:
    """What the profile makes of launcher keys. A key that is set wins over its pool's.

    :raises UsageError: the profile has no such pool or resource, or too little of it
    """
    pool = profile.pool(keys.pool) if keys.pool is not None else None
    request = resolve(profile, keys.resources)
    parallel = keys.parallel_runs
    decided = {name: value for name, value in pool.options().items() if getattr(keys, name) is None} if pool else {}
    result = replace(
        keys.changed(decided),
        licenses=with_licenses(keys.licenses, {name: parallel * one for name, one in request.licenses.items()}),
        throttles=FrozenMapping(request.throttles),
    )
    caps = {name: _in_tasks(name, runs, parallel) for name, runs in most_at_once(profile, request).items()}
    if keys.array_parallelism is not None:
        # The default is Slurm's to count, by tasks.
        caps[_PARALLEL] = keys.array_parallelism * (parallel if keys.asked_parallelism is None else 1)
    at_once = pool.limits.at_once(demand_of(result).gpu_count) if pool is not None else None
    if pool is not None and at_once:  # a run that is too large for its pool is refused with the numbers
        caps[f"pool {pool.name}"] = parallel * at_once
        most = min(parallel * at_once, caps.get(_PARALLEL, parallel * at_once))
        if parallel > 1 and most == DEFAULT_PARALLELISM:  # which would let so many tasks run
            most -= 1
        result = replace(result, array_parallelism=most)
    return Terms(keys=result, pool=pool, caps=caps)


def _in_tasks(name: str, runs: int, parallel: int) -> int:
    """How many of the runs may be at work if each task executes so many at once.

    :raises UsageError: not even one task could start
    """
    if runs < parallel:
        raise UsageError(
            f"With parallel_per_task={parallel} a task takes more of {name} than there is: at most {runs} of its"
            " runs can run at once."
        )
    return runs // parallel * parallel


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsOnTerms:
    """Runs of a launch that are submitted on the same terms.

    :param launch: number of the launch among those of its sweep
    """

    runs: int
    terms: Terms
    launch: int = 0


def reckon(
    profile: Profile, parts: Sequence[RunsOnTerms], client: SlurmClient | None
) -> tuple[WorstCase, dict[str, int]]:
    """What a sweep can take in the worst case, and what bounds how many of its runs are at work at once.

    :param client: None where no cluster is asked about licences
    :raises PolicyError: the profile's envelope, a policy or a pool forbids it, with the numbers
    :raises UsageError: a licence does not exist, or no run could ever start
    :raises SlurmUnavailableError: Slurm does not answer
    """
    caps: dict[str, int] = {}
    for part in parts:
        answer = ask_licenses(part.terms.keys.licenses, client) if client is not None else LicenseAnswer()
        tasks = answer.at_once
        licensed = {} if tasks is None else {"licenses": tasks * part.terms.keys.parallel_runs}
        own = {**part.terms.caps, **licensed}
        for name, count in own.items():
            # If runs ask for different amounts, the smallest decide how many may run at once.
            caps[name] = max(caps.get(name, 0), count)
    groups = [_group(part, client) for part in parts]
    if any(group.tasks is not None for group in groups):
        caps[_PACKED] = sum(group.at_once for group in groups)
    if _PARALLEL in caps:
        caps[_PARALLEL] = max(caps[_PARALLEL], _by_default(parts, client))
    partition = _usual_partition(profile, parts, client)
    groups = [replace(group, partition=group.partition or partition) for group in groups]
    pools = {part.terms.pool.name: part.terms.pool for part in parts if part.terms.pool is not None}
    worst = check_sweep(profile, groups, caps, next(iter(pools.values())) if len(pools) == 1 else None)
    for name, pool in pools.items() if len(pools) > 1 else ():
        of_pool = [
            group
            for group, part in zip(groups, parts, strict=True)
            if part.terms.pool is not None and part.terms.pool.name == name
        ]
        check_sweep(profile, of_pool, caps, pool)
    return worst, caps


def _by_default(parts: Sequence[RunsOnTerms], client: SlurmClient | None) -> int:
    """How many runs may be at work where nobody asked for a number: the default holds for each array by itself."""
    launches: dict[int, int] = {}
    asked = 0
    for part in parts:
        most = part.terms.caps.get(_PARALLEL, 0)
        keys = part.terms.keys
        if most == DEFAULT_PARALLELISM * keys.parallel_runs:
            several = client is not None and not keys.is_packed
            arrays = -(-part.runs // client.config().array_tasks) if client is not None and several else 1
            launches[part.launch] = launches.get(part.launch, 0) + most * arrays
        else:
            asked = max(asked, most)
    detached = any(part.terms.keys.detach for part in parts)
    # Without it each launch of a sweep waits until the one before it is over.
    default = sum(launches.values()) if detached else max(launches.values(), default=0)
    return default + asked if default else 0


def _usual_partition(profile: Profile, parts: Sequence[RunsOnTerms], client: SlurmClient | None) -> str | None:
    """Where Slurm puts jobs that name no partition, if the profile allows that one; asked only if it matters."""
    allowed = profile.policies.partitions
    if client is None or allowed is None or all(part.terms.keys.asked_partition for part in parts):
        return None
    from hpcorch.slurm.sbatch.line import VARIABLES  # few profiles name partitions

    usual = os.environ.get(VARIABLES["partition"]) or next(
        (one.name for one in client.partitions() if one.default), None
    )
    return usual if usual in allowed else None


def _group(part: RunsOnTerms, client: SlurmClient | None) -> Group:
    keys = part.terms.keys
    retries = max(keys.max_retries.most.values(), default=0)
    return Group(
        runs=part.runs,
        demand=demand_of(keys),
        starts=(1 + keys.max_num_timeout) * (1 + retries),
        partition=keys.asked_partition,
        tasks=_tasks(part, client) if keys.is_packed else None,
        parallel=keys.parallel_runs,
    )


def _tasks(part: RunsOnTerms, client: SlurmClient | None) -> int:
    return part.terms.keys.tasks_for(part.runs, None if client is None else client.config().array_tasks)
