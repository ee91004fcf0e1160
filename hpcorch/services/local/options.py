"""From the local launcher's keys to a request for the pool."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpcorch.errors import UsageError
from hpcorch.model.retries import RetryBudget
from hpcorch.runtime.context.place import cpu_count
from hpcorch.services.local.pool import LocalRequest


def local_request(
    params: Mapping[str, Any], *, sweep: str, launch: int, runs: Sequence[int], python: str = sys.executable
) -> LocalRequest:
    """What a pool on this machine is to execute, by the launcher's keys.

    :raises UsageError: a key asks for what one machine cannot do, or for more than this one has
    """
    gpus_per_task = _gpus_per_task(params)
    return LocalRequest(
        sweep=sweep,
        launch=launch,
        runs=runs,
        slots=check_local(params),
        gpus=_visible_gpus(os.environ) if gpus_per_task else (),
        gpus_per_task=gpus_per_task,
        python=python,
        environ=os.environ,
        timeout_s=60.0 * float(params.get("timeout_min") or 0) or None,
        log_folder=params.get("submitit_folder"),
        stderr_to_stdout=bool(params.get("stderr_to_stdout")),
    )


def check_local(params: Mapping[str, Any]) -> int:
    """How many runs may run at once on this machine by these keys.

    :raises UsageError: a run asks for several nodes or tasks, or for more than this machine has, or a key is wrong
    """
    RetryBudget.parse(params.get("max_retries"))
    if int(params.get("nodes") or 1) > 1 or int(params.get("tasks_per_node") or 1) > 1:
        raise UsageError(
            "hpcorch_local runs one task a run on this machine: leave out nodes and tasks_per_node, or use"
            " hydra/launcher=hpcorch_slurm"
        )
    slots = params.get("slots")
    if slots is not None and int(slots) < 1:
        raise UsageError(f"hydra.launcher.slots={slots} would run nothing: use 1 or more, or leave it out")
    return _plan_slots(
        slots=None if slots is None else int(slots),
        cpus_per_task=max(1, int(params.get("cpus_per_task") or 1)),
        gpus_per_task=_gpus_per_task(params) or 0,
        gpus=_visible_gpus(os.environ),
        cpus=cpu_count(),
    )


def _gpus_per_task(params: Mapping[str, Any]) -> int | None:
    """The count in ``gpus_per_node`` or in ``gres``; no local machine is asked about the type (``a100:2``)."""
    asked = params.get("gpus_per_node")
    if asked is None:
        gpus = [entry for entry in str(params.get("gres") or "").split(",") if entry.split(":")[0] == "gpu"]
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
