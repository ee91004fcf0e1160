"""Executing a launch as one Slurm job array."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from hpcorch.errors import UsageError
from hpcorch.launcher.progress import progress
from hpcorch.launcher.sweep import OpenSweep, PlannedLaunch
from hpcorch.services.submit import Request, script_text, submit_array
from hpcorch.services.wait import wait_for_runs
from hpcorch.slurm.client import CliClient
from hpcorch.slurm.options import JobOptions
from hpcorch.slurm.scontrol import ClusterConfig

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

    from hpcorch.ledger.store import Ledger

log = logging.getLogger(__name__)


def check_slurm(params: Mapping[str, Any], runs: int) -> ClusterConfig | None:
    """Refuse wrong keys, too many runs, and a machine without Slurm, before anything is composed.

    :return: the cluster's configuration; None for a dry run, which does not ask

    :raises UsageError: a key has a value that Slurm cannot be given, or no array takes so many runs
    :raises SlurmUnavailableError: there is no Slurm here, or its controller does not answer
    """
    JobOptions.from_launcher(params)
    if params.get("dry_run"):
        return None
    config = CliClient().config()
    limit = config.max_array_size
    if runs > limit:
        raise UsageError(
            f"this launch has {runs} runs, but an array of this cluster takes at most {limit} (MaxArraySize in"
            f" `scontrol show config`): set hydra.sweeper.max_batch_size={limit}"
        )
    return config


def _request(sweep: OpenSweep, launch: PlannedLaunch) -> Request:
    return Request(
        sweep=sweep.id,
        batch=launch.frozen.header.batch,
        runs=launch.indices,
        options=JobOptions.from_launcher(sweep.params),
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
        with left_by_signal(), progress(f"sweep {sweep.id}") as display:
            wait_for_runs(sweep.reconciler(ledger), client, display.show)
    except LeftBySignalError as left:
        sys.stderr.write(
            f"\nhpcorch: stopped waiting; the jobs of sweep {sweep.id} go on. Come back with:\n"
            f"  hpcorch wait {sweep.id}\n  hpcorch status {sweep.id}\n{_later_batches(sweep)}"
        )
        raise SystemExit(128 + left.number) from None
    return sweep.results(launch, ledger)


def _later_batches(sweep: OpenSweep) -> str:
    """What a sweeper that launches batch after batch will not do any more."""
    if not sweep.config.hydra.sweeper.get("max_batch_size"):
        return ""
    return "Batches that were not launched yet will not be: max_batch_size launches one after another.\n"


class LeftBySignalError(Exception):
    """SIGINT, SIGTERM or SIGHUP arrived while the launcher waited."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def left_by_signal() -> Iterator[None]:
    """While the block runs, the signals that end a session end only the waiting.

    :raises LeftBySignalError: one arrived
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        raise LeftBySignalError(number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
