"""Executing a launch on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpcorch.errors import UsageError
from hpcorch.launcher.progress import progress
from hpcorch.launcher.sweep import OpenSweep, PlannedLaunch
from hpcorch.runtime.place import cpu_count
from hpcorch.services.local import Interrupted, LocalPool, LocalRequest, plan_slots, visible_gpus

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn


def check_local(params: Mapping[str, Any]) -> None:
    """Refuse keys that one machine cannot honour.

    :raises UsageError: a run asks for several nodes or tasks, or for more than this machine has
    """
    if int(params.get("nodes") or 1) > 1 or int(params.get("tasks_per_node") or 1) > 1:
        raise UsageError(
            "hpcorch_local runs one task a run on this machine: leave out nodes and tasks_per_node, or use"
            " hydra/launcher=hpcorch_slurm"
        )
    _slots(params)


def _gpus_per_task(params: Mapping[str, Any]) -> int | None:
    """The count in ``gpus_per_node``, whose type no local machine is asked about (``a100:2``)."""
    asked = params.get("gpus_per_node")
    if asked is None:
        return None
    count = str(asked).rpartition(":")[2]
    if not count.isdigit():
        raise UsageError(f"hydra.launcher.gpus_per_node={asked} is neither a count nor type:count")
    return int(count)


def _slots(params: Mapping[str, Any]) -> int:
    slots = params.get("slots")
    if slots is not None and int(slots) < 1:
        raise UsageError(f"hydra.launcher.slots={slots} would run nothing: use 1 or more, or leave it out")
    return plan_slots(
        slots=None if slots is None else int(slots),
        cpus_per_task=max(1, int(params.get("cpus_per_task") or 1)),
        gpus_per_task=_gpus_per_task(params) or 0,
        gpus=visible_gpus(os.environ),
        cpus=cpu_count(),
    )


def execute_locally(sweep: OpenSweep, launch: PlannedLaunch) -> Sequence[JobReturn]:
    """Run a recorded launch to its end.

    :raises SystemExit: SIGINT or SIGTERM arrived; every run is stopped and recorded
    """
    gpus_per_task = _gpus_per_task(sweep.params)
    request = LocalRequest(
        sweep=sweep.id,
        batch=launch.frozen.header.batch,
        runs=launch.indices,
        slots=_slots(sweep.params),
        gpus=visible_gpus(os.environ) if gpus_per_task else (),
        gpus_per_task=gpus_per_task,
        environ=os.environ,
        timeout_s=60.0 * float(sweep.params.get("timeout_min") or 0) or None,
        log_folder=sweep.params.get("submitit_folder"),
        stderr_to_stdout=bool(sweep.params.get("stderr_to_stdout")),
    )
    with sweep.ledger() as ledger, progress(f"sweep {sweep.id}") as display:
        reconciler = sweep.reconciler(ledger)

        def tick() -> None:
            reconciler.ingest()
            display.show(ledger.counts(sweep.id))

        try:
            LocalPool(sweep.layout, request).run(tick)
        except Interrupted as stop:
            raise SystemExit(128 + stop.signal_number) from None
        tick()
        return sweep.results(launch, ledger)
