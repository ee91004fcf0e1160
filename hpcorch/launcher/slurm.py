"""Executing a launch as one Slurm job array."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from hpcorch.launcher.composing.lengths import check_slurm_name
from hpcorch.launcher.config import has_batches
from hpcorch.launcher.open_sweep import OpenSweep, PlannedLaunch
from hpcorch.launcher.preview import Array, preview
from hpcorch.launcher.progress import progress
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.processes import EXIT_SIGNAL_BASE
from hpcorch.model.value_text import counted
from hpcorch.runtime.context.output import to_stderr
from hpcorch.runtime.context.raised_by_signal import RaisedBySignal, keep_from_being_swallowed, take_swallowed
from hpcorch.services.submission.arrays import ArrayPlan, grouped, together
from hpcorch.services.submission.feeding import Feeder, FeedResult
from hpcorch.services.submission.request import Request, script_text
from hpcorch.services.tending.steady import SteadyReconciler
from hpcorch.services.tending.tend import tend
from hpcorch.services.tending.tend_result import TendResult
from hpcorch.services.tending.wait import wait_for_runs
from hpcorch.slurm.choose import slurm_client
from hpcorch.slurm.protocol import SlurmClient

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

log = logging.getLogger(__name__)


def check_slurm(keys: LaunchKeys) -> SlurmClient | None:
    """Refuse wrong keys and a machine without Slurm before anything is composed.

    :return: the cluster; None for a dry run on a machine without Slurm
    :raises UsageError: keys contradict each other, or the job's name is too long
    :raises SlurmUnavailableError: there is no Slurm here, or its controller does not answer
    """
    keys.check_warning()
    keys.check_packed()
    check_slurm_name(keys.name)
    client = slurm_client()
    if keys.dry_run:
        return client if client.available() else None
    client.config()
    return client


def _request(sweep: OpenSweep, planned: PlannedLaunch, portion: ArrayPlan) -> Request:
    return Request(
        sweep=sweep.id,
        launch=planned.frozen.header.launch,
        runs=portion.runs,
        most_tasks=portion.most_tasks,
        keys=portion.keys,
        environ=os.environ,
        host=sweep.host,
        changed=portion.keys.changes_since(planned.settled.keys),
    )


def submission_text(sweep: OpenSweep, planned: PlannedLaunch) -> str:
    """What a dry run shows; Slurm is asked where it is, and given nothing."""
    client = sweep.site.client
    if client is None:
        chosen, waiting = grouped(planned.asked), 0
    else:
        chosen, waiting = _feeder(sweep, planned, client).plan(planned.asked)
    requests = together(_request(sweep, planned, portion) for portion in chosen)
    arrays = (
        Array(request=one, script=script_text(sweep.layout, one, number=number, token="0" * 32))
        for number, one in enumerate(requests)
    )
    return preview(
        list(arrays),
        waiting=waiting,
        worst=sweep.site.worst,
        caps=sweep.site.caps,
        profile=sweep.site.profile,
        client=client,
        environ=os.environ,
    )


def execute_on_slurm(sweep: OpenSweep, planned: PlannedLaunch) -> Sequence[JobReturn]:
    """Submit a recorded launch, and wait for it unless the keys say ``detach``.

    :raises SystemExit: Ctrl-C while waiting; the jobs go on
    """
    client = sweep.client
    with sweep.followed() as reconciler:
        try:
            fed = _feeder(sweep, planned, client).feed(planned.asked, alone=True)
        finally:
            reconciler.ingest()
        for array in fed.arrays:
            many = counted(len(array.runs), "run")
            tasks = "" if array.tasks is None else f", whose {counted(array.tasks, 'task')} take them one by one"
            log.info("Sweep %s: %s submitted as Slurm job array %s%s", sweep.id, many, array.job_id, tasks)
        tell = _Telling()
        tell(tend(reconciler, client, hurry=True))
        _tell_waiting(sweep, fed)
        if sweep.keys.detach:
            log.info("It goes on without this process. Come back with: hpcorch status %s", sweep.id)
            return reconciler.ask(partial(sweep.handles, planned))
        return _waited(sweep, planned, reconciler, client, tell)


def _feeder(sweep: OpenSweep, planned: PlannedLaunch, client: SlurmClient) -> Feeder:
    return Feeder(
        journal=sweep.journal,
        launch=planned.frozen.header.launch,
        client=client,
        profile=sweep.site.profile,
        keys=planned.settled.keys,
        request=lambda portion: _request(sweep, planned, portion),
    )


def _tell_waiting(sweep: OpenSweep, fed: FeedResult) -> None:
    if not fed.waiting:
        return
    if fed.arrays:
        log.info("Sweep %s: %s will be submitted as Slurm accepts them", sweep.id, counted(fed.waiting, "more run"))
    elif sweep.keys.detach:
        log.warning(
            "Slurm accepts no more of your jobs now, so nothing of sweep %s is submitted yet: `hpcorch tend"
            " %s` submits its runs when Slurm accepts more",
            *(sweep.id, sweep.id),
        )
    else:
        log.info("Sweep %s waits until Slurm accepts more of your jobs", sweep.id)


class _Telling:
    """Logs what was done about a sweep, and once each sentence on what could not be."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, done: TendResult) -> None:
        for sentence in done.sentences:
            if sentence not in self._told:
                self._told.add(sentence)
                log.info("%s", sentence)


def _waited(
    sweep: OpenSweep, planned: PlannedLaunch, reconciler: SteadyReconciler, client: SlurmClient, tell: _Telling
) -> Sequence[JobReturn]:
    try:
        with left_by_signal(), progress(f"sweep {sweep.id}") as display:
            wait_for_runs(reconciler, client, display.show, tell)
    except LeftBySignal as left:
        to_stderr(
            f"\nhpcorch: stopped waiting; the jobs of sweep {sweep.id} go on. Come back with:\n"
            f"  hpcorch wait {sweep.id}\n  hpcorch status {sweep.id}\n{_later_launches(sweep)}"
        )
        raise SystemExit(EXIT_SIGNAL_BASE + left.number) from None
    return reconciler.ask(partial(sweep.results, planned))


def _later_launches(sweep: OpenSweep) -> str:
    """What a sweeper that launches launch after launch will not do any more."""
    if not has_batches(sweep.config):
        return ""
    return (
        "Later launches are not submitted: with max_batch_size, Hydra launches one batch of runs after another.\n"
    )


class LeftBySignal(RaisedBySignal):
    """SIGINT, SIGTERM or SIGHUP arrived while the launcher waited."""

    def __init__(self, number: int) -> None:
        super().__init__(number, signal.Signals(number).name)


@contextmanager
def left_by_signal() -> Iterator[None]:
    """While the block runs, the signals that end a session end only the waiting.

    :raises LeftBySignal: one arrived
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        take_swallowed(number)
        raise LeftBySignal(number)

    keep_from_being_swallowed()
    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
