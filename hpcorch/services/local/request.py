"""What a pool on this machine is to execute by the launcher's keys, and what each run gets of the machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpcorch.errors import UsageError
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.runtime.context.claim import cpu_count


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTerms:
    """What a task gets of the machine.

    :param cpus: counted where a pool shares out CPUs
    :param gpus: devices that it gets; it sees no others. None leaves the environment as it is
    :param timeout_s: seconds after which it is stopped; None for no limit
    :param log_folder: where its logs go instead of beside the journals
    """

    cpus: int = 1
    gpus: int | None = None
    timeout_s: float | None = None
    log_folder: str | None = None
    stderr_to_stdout: bool = True
    python_options: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRequest:
    """Runs of one launch that a pool is to execute.

    :param slots: so many tasks run at once
    :param cpus: that tasks share; None where slots alone count
    :param gpus: devices to deal out, as CUDA_VISIBLE_DEVICES names them
    :param terms: of a task
    :param own: run -> its terms, of runs that have others
    :param wait_s: seconds before the first task starts
    :param forks: the program is started once, and the tasks are forked where it calls its function
    """

    sweep: str
    launch: int
    runs: Sequence[int]
    slots: int
    cpus: int | None = None
    gpus: Sequence[str] = ()
    terms: TaskTerms = field(default_factory=TaskTerms)
    own: Mapping[int, TaskTerms] = field(default_factory=dict)
    python: str = sys.executable
    environ: Mapping[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    forks: bool = False

    def terms_of(self, task: int) -> TaskTerms:
        """The terms of the task that executes the run at this place."""
        return self.own.get(self.runs[task], self.terms)


def local_request(
    keys: LaunchKeys,
    *,
    sweep: str,
    launch: int,
    runs: Sequence[int],
    python: str = sys.executable,
    asked: Mapping[int, LaunchKeys] | None = None,
) -> LocalRequest:
    """What a pool on this machine is to execute, by the launcher's keys.

    :param asked: run -> what it asks for, where that may be something else
    :raises UsageError: a key asks for what one machine cannot do, or for more than this one has
    """
    of_runs = {run: (asked or {}).get(run, keys) for run in runs}
    each = {one: _terms(one) for one in (keys, *of_runs.values())}
    is_one_for_all = len(each) == 1
    return LocalRequest(
        sweep=sweep,
        launch=launch,
        runs=runs,
        slots=max(map(check_local, each)),
        cpus=None if is_one_for_all or keys.slots is not None else cpu_count(),
        gpus=_visible_gpus(os.environ) if any(terms.gpus for terms in each.values()) else (),
        terms=each[keys],
        own={run: each[one] for run, one in of_runs.items() if one != keys},
        python=python,
        environ=os.environ,
        forks=keys.forks,
    )


def _terms(keys: LaunchKeys) -> TaskTerms:
    return TaskTerms(
        cpus=keys.cpus_per_task or 1,
        gpus=_gpus_per_task(keys),
        timeout_s=60.0 * keys.timeout_min or None,
        log_folder=keys.submitit_folder,
        stderr_to_stdout=keys.stderr_to_stdout,
        python_options=keys.python_options or (),
    )


def check_local(keys: LaunchKeys) -> int:
    """How many runs may run at once on this machine by these keys.

    :raises UsageError: a run asks for several nodes or tasks, or for more than this machine has
    """
    if keys.nodes > 1 or keys.tasks_per_node > 1:
        raise UsageError(
            "hpcorch_local runs one task a run on this machine: leave out nodes and tasks_per_node, or use"
            " hydra/launcher=hpcorch_slurm"
        )
    if keys.slots is not None and keys.slots < 1:
        raise UsageError(f"hydra.launcher.slots={keys.slots} would run nothing: use 1 or more, or leave it out")
    return _plan_slots(
        slots=keys.slots,
        cpus_per_task=keys.cpus_per_task or 1,
        gpus_per_task=_gpus_per_task(keys) or 0,
        gpus=_visible_gpus(os.environ),
        cpus=cpu_count(),
    )


def _gpus_per_task(keys: LaunchKeys) -> int | None:
    """The count in ``gpus_per_node`` or in ``gres``; no local machine is asked about the type (``a100:2``)."""
    asked = keys.gpus_per_node
    if asked is None:
        gpus = [entry for entry in (keys.gres or "").split(",") if entry.split(":")[0] == "gpu"]
        if not gpus:
            return None
        asked = gpus[0] if gpus[0][-1].isdigit() else 1
    count = str(asked).rpartition(":")[2]
    if not count.isdigit():
        raise UsageError(f"{asked!r} in hydra.launcher.gpus_per_node or gres is neither a count nor type:count")
    return int(count)


def _plan_slots(
    *, slots: int | None, cpus_per_task: int, gpus_per_task: int, gpus: Sequence[str], cpus: int
) -> int:
    """How many tasks may run at once on this machine.

    :raises UsageError: not even one fits
    """
    if gpus_per_task > len(gpus):
        raise UsageError(
            f"each run asks for {gpus_per_task} GPU(s), and this machine offers {len(gpus)}: lower"
            " hydra.launcher.gpus_per_node, or run on a machine with more"
        )
    fit = max(1, cpus // cpus_per_task) if slots is None else slots
    return min(fit, len(gpus) // gpus_per_task) if gpus_per_task else fit


def _visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """The GPUs of this machine that may be used: CUDA_VISIBLE_DEVICES if set, else all NVIDIA devices."""
    named = environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip() and name.strip() != "-1"]
    return sorted((path.name[6:] for path in Path("/dev").glob("nvidia[0-9]*")), key=int)
