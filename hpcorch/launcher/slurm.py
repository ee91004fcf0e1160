"""Executing a launch as one Slurm job array."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from hpcorch.errors import UsageError
from hpcorch.launcher.progress import progress
from hpcorch.launcher.sweep import OpenSweep, PlannedLaunch
from hpcorch.services.submit import Request, script_text, submit_array
from hpcorch.services.wait import wait_for_runs
from hpcorch.slurm.client import CliClient
from hpcorch.slurm.options import JobOptions

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

    from hpcorch.ledger.store import Ledger

log = logging.getLogger(__name__)
_OPTION_KEYS = frozenset(item.name for item in fields(JobOptions))


def check_slurm(params: Mapping[str, Any], runs: int) -> str | None:
    """Refuse wrong keys, too many runs, and a machine without Slurm, before anything is composed.

    :return: the cluster's name; None for a dry run, which does not ask

    :raises UsageError: a key has a value that Slurm cannot be given, or no array takes so many runs
    :raises SlurmUnavailableError: there is no Slurm here, or its controller does not answer
    """
    job_options(params)
    if params.get("dry_run"):
        return None
    config = CliClient().config()
    limit = config.max_array_size
    if runs > limit:
        raise UsageError(
            f"this launch has {runs} runs, but an array of this cluster takes at most {limit} (MaxArraySize in"
            f" `scontrol show config`): set hydra.sweeper.max_batch_size={limit}"
        )
    return config.cluster


def job_options(params: Mapping[str, Any]) -> JobOptions:
    """What the launcher's keys ask of Slurm.

    :raises UsageError: a key has a value that Slurm cannot be given
    """
    return JobOptions.from_mapping({key: value for key, value in params.items() if key in _OPTION_KEYS})


def _request(sweep: OpenSweep, launch: PlannedLaunch) -> Request:
    return Request(
        sweep=sweep.id,
        batch=launch.frozen.header.batch,
        runs=launch.indices,
        options=job_options(sweep.params),
        environ=os.environ,
        host=sweep.host,
        log_folder=sweep.params.get("submitit_folder"),
    )


def submission_text(sweep: OpenSweep, launch: PlannedLaunch) -> str:
    """What a dry run shows: how many runs, and the batch script that would be submitted."""
    script = script_text(sweep.layout, _request(sweep, launch), number=0, token="0" * 32)
    return f"# {len(launch.indices)} runs as one array; nothing is submitted\n{script}"


def execute_on_slurm(sweep: OpenSweep, launch: PlannedLaunch) -> Sequence[JobReturn]:
    """Submit a recorded launch, and wait for it unless the keys say to leave.

    :raises SystemExit: Ctrl-C while waiting; the jobs go on
    """
    client = CliClient()
    with sweep.ledger() as ledger:
        try:
            job_id = submit_array(sweep.layout, _request(sweep, launch), client)
        finally:
            sweep.reconciler(ledger).ingest()
        log.info("Sweep %s: %d runs submitted as Slurm job array %s", sweep.id, len(launch.indices), job_id)
        if sweep.params.get("detach"):
            log.info("It goes on without this process. Come back with: hpcorch status %s", sweep.id)
            return sweep.handles(launch, ledger)
        return _waited(sweep, launch, ledger, client)


def _waited(sweep: OpenSweep, launch: PlannedLaunch, ledger: Ledger, client: CliClient) -> Sequence[JobReturn]:
    try:
        with progress(f"sweep {sweep.id}") as display:
            wait_for_runs(sweep.reconciler(ledger), client, display.show)
    except KeyboardInterrupt:
        sys.stderr.write(
            f"\nhpcorch: stopped waiting; the jobs of sweep {sweep.id} go on. Come back with:\n"
            f"  hpcorch status {sweep.id}\n"
        )
        raise SystemExit(130) from None
    return sweep.results(launch, ledger)
