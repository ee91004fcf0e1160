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

from hpcorch.launcher.progress import progress
from hpcorch.launcher.sweep import OpenSweep, PlannedLaunch
from hpcorch.model.retries import RetryBudget
from hpcorch.services.submit import Request, script_text, submit_array
from hpcorch.services.tend import Tended, tend
from hpcorch.services.wait import wait_for_runs
from hpcorch.slurm.client import CliClient
from hpcorch.slurm.options import JobOptions
from hpcorch.slurm.protocol import SlurmClient

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

    from hpcorch.ledger.store import Ledger

log = logging.getLogger(__name__)


def check_slurm(params: Mapping[str, Any]) -> CliClient | None:
    """Refuse wrong keys and a machine without Slurm before anything is composed.

    :return: the cluster; None for a dry run on a machine without Slurm
    :raises UsageError: a key has a value that Slurm cannot be given
    :raises SlurmUnavailableError: there is no Slurm here, or its controller does not answer
    """
    JobOptions.from_launcher(params)
    RetryBudget.parse(params.get("max_retries"))
    client = CliClient()
    if params.get("dry_run"):
        return client if client.available() else None
    client.config()
    return client


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
    client = sweep.client
    with sweep.ledger() as ledger:
        try:
            job_id = submit_array(sweep.layout, _request(sweep, launch), client)
        finally:
            sweep.reconciler(ledger).ingest()
        log.info("Sweep %s: %d runs submitted as Slurm job array %s", sweep.id, len(launch.indices), job_id)
        tell = _Telling()
        tell(tend(sweep.reconciler(ledger), client))
        if sweep.params.get("detach"):
            log.info("It goes on without this process. Come back with: hpcorch status %s", sweep.id)
            return sweep.handles(launch, ledger)
        return _waited(sweep, launch, ledger, client, tell)


class _Telling:
    """Logs what was done about a sweep, and once each sentence on what could not be."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, tended: Tended) -> None:
        for sentence in tended.sentences:
            if sentence not in self._told:
                self._told.add(sentence)
                log.info("%s", sentence)


def _waited(
    sweep: OpenSweep, launch: PlannedLaunch, ledger: Ledger, client: SlurmClient, tell: _Telling
) -> Sequence[JobReturn]:
    try:
        with left_by_signal(), progress(f"sweep {sweep.id}") as display:
            wait_for_runs(sweep.reconciler(ledger), client, display.show, tell)
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
