"""Where a run is executed again, and with which launcher keys: those of the original, as far as they apply."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcorch.errors import SlurmUnavailableError, UsageError
from hpcorch.model.keys.kinds import Heeds
from hpcorch.model.keys.launch_keys import LaunchKeys, names
from hpcorch.model.states import Backend
from hpcorch.model.values import FrozenMapping
from hpcorch.resources.request import resolve
from hpcorch.services.local.request import check_local
from hpcorch.services.reproduction.original import Original
from hpcorch.services.site.project_profile import check_cluster, load_profile, project_at, throttle_capacities
from hpcorch.services.site.terms import RunsOnTerms, Terms, reckon
from hpcorch.slurm.protocol import SlurmClient

# One run on one machine is given all of the machine's CPUs and memory.
_LOCAL_KEYS = frozenset({"gpus_per_node", "gres", "nodes", "tasks_per_node", "timeout_min"})


def usual_backend(original: Original, client: SlurmClient) -> Backend:
    """Slurm if the run was executed on the cluster that this machine belongs to; otherwise this machine.

    :raises SlurmUnavailableError: there is a cluster, and it does not answer
    """
    sweep = original.evidence.sweep
    if Backend.of(sweep.backend) is not Backend.SLURM or shutil.which("sbatch") is None:
        return Backend.LOCAL
    try:
        here = client.config().cluster
    except SlurmUnavailableError as error:
        raise SlurmUnavailableError(
            f"{error} {original.name} was executed on a cluster: --backend local repeats it on this machine"
        ) from error
    return Backend.SLURM if sweep.cluster in (None, here) else Backend.LOCAL


def keys_again(original: Original, backend: Backend) -> LaunchKeys:
    """The launcher's keys for the repetition: the run's own among those of its launch.

    :raises UsageError: the site profile is wrong
    """
    asked = original.keys.changed(original.frozen.run.launcher)
    if backend is Backend.LOCAL:
        return LaunchKeys(**{name: getattr(asked, name) for name in _LOCAL_KEYS})
    return keys_now(asked)


def keys_now(asked: LaunchKeys) -> LaunchKeys:
    """Keys of an earlier launch for a new one on Slurm: it has logs of its own, and what that waited for is over.

    Throttled resources that the site profile here does not have are left out.

    :raises UsageError: the site profile is wrong
    """
    keys = replace(asked.without_beginning(), submitit_folder=None)
    if not keys.throttles:
        return keys
    here = throttle_capacities(load_profile(project_at(Path.cwd()), os.environ))
    shared = {name: units for name, units in keys.throttles.items() if name in here}
    return replace(keys, throttles=FrozenMapping(shared))


def changed_keys(keys: LaunchKeys, changes: Mapping[str, Any], backend: Backend) -> LaunchKeys:
    """The keys with some changed. What cannot be is refused before anything is on disk.

    :raises UsageError: a changed key does not exist, or a value cannot be
    """
    known = _LOCAL_KEYS if backend is Backend.LOCAL else names(Heeds.SBATCH)
    for key in changes:
        if key not in known:
            raise UsageError(
                f"{key!r} cannot be changed for a repetition {_WHERE[backend]}; keys that can are:"
                f" {', '.join(sorted(known))}"
            )
    changed = keys.changed(changes)
    if backend is Backend.LOCAL:
        check_local(changed)
    else:
        changed.check_packed()
    return changed


def check_site(asked: Mapping[LaunchKeys, int], client: SlurmClient) -> None:
    """Refuse on Slurm what the site profile here would refuse as a launch of runs with these keys.

    Its envelope and its policies on partitions and cost hold, and the limits of the runs' pools, if it has these.

    :param asked: keys as :func:`keys_now` gives them, with what was changed -> how many runs ask for them
    :raises PolicyError: the profile forbids it, with the numbers
    :raises UsageError: the profile is wrong or another cluster's, or a run could never start
    :raises SlurmUnavailableError: Slurm does not answer
    """
    profile = load_profile(project_at(Path.cwd()), os.environ)
    check_cluster(profile, client)
    for keys in asked:
        resolve(profile, keys.throttles)  # a capacity may be less than it was
    parts = [
        RunsOnTerms(runs=runs, terms=Terms(keys=keys, pool=profile.pools.get(keys.pool or ""), caps={}))
        for keys, runs in asked.items()
    ]
    reckon(profile, parts, client)


_WHERE = {Backend.LOCAL: "on this machine", Backend.SLURM: "on Slurm"}
