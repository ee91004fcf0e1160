"""Entry of a packed task: ``python -m hpcorch.services.packing.task SWEEP_DIR --launch L --submission S …``.

One element of an array, which executes runs until none is left, or until its time is. Each run is a process of its
own, and lives the life of any attempt; Slurm's words on the element are about the runs in flight.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from types import FrameType
from typing import Any

from hpcorch.errors import HpcorchError, RecordError, UnavailableError, UsageError
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.actions import CHECKPOINT_SIGNAL
from hpcorch.model.entities import Cancellation
from hpcorch.model.processes import EXIT_SIGNAL_BASE
from hpcorch.model.states import Isolation
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.attempt.requeue import requeue
from hpcorch.runtime.attempt.task import check_directory, parser
from hpcorch.runtime.context.output import say
from hpcorch.runtime.context.startup_signals import hold_signals, release_signals
from hpcorch.services.local.processes import pool_id
from hpcorch.services.local.request import LocalRequest, TaskTerms
from hpcorch.services.local.starting import Starter
from hpcorch.services.local.task import LocalTask
from hpcorch.services.packing.claims import Claim, Claims, Share
from hpcorch.services.packing.record import TaskRecord
from hpcorch.slurm.job_environment import Job, job_here
from hpcorch.slurm.own_job import end_of

_STOPS = (signal.SIGTERM, signal.SIGINT)


def main(argv: Sequence[str] | None = None) -> int:
    """Execute one packed task; its exit code."""
    hold_signals()
    arguments = _parser().parse_args(argv)
    os.environ.pop("PYTHONSAFEPATH", None)
    layout = SweepLayout(arguments.sweep_dir, moves=tuple(map(tuple, arguments.moved)))
    try:
        job = job_here(os.environ)
        if job is None or job.index is None:
            raise UsageError("this program is started by the batch script of a packed array, not by hand")
        if arguments.sweep is not None:
            check_directory(layout, arguments.sweep)
        return _task(arguments, layout, job).execute()
    except HpcorchError as error:
        say(str(error))
        return error.exit_code


def _parser() -> Any:
    found = parser()
    found.add_argument("--tasks", type=int, required=True, help="how many elements the array has")
    found.add_argument("--parallel", type=int, default=1, help="so many runs at once")
    found.add_argument("--isolation", default=Isolation.FORK.value, help="fork or process")
    found.add_argument("--separate-stderr", action="store_true", help="a file of its own for standard error")
    found.add_argument("--python-option", action="append", default=[], help="an option of the interpreter")
    return found


def _task(arguments: Any, layout: SweepLayout, job: Job) -> PackedTask:
    assert job.index is not None
    request = LocalRequest(
        sweep=arguments.sweep or "",
        launch=arguments.launch,
        runs=arguments.runs,
        slots=arguments.parallel,
        terms=TaskTerms(
            stderr_to_stdout=not arguments.separate_stderr, python_options=tuple(arguments.python_option)
        ),
        environ=os.environ,
        forks=arguments.isolation == Isolation.FORK.value,
    )
    record = TaskRecord(
        ControlJournal(layout, arguments.sweep or ""), arguments.submission, job.node or os.uname().nodename
    )
    share = Share(
        layout=layout,
        submission=arguments.submission,
        runs=arguments.runs,
        element=job.index,
        tasks=arguments.tasks,
        start=job.restart,
    )
    starter = Starter(
        request, layout, submission=arguments.submission, pool=pool_id(os.getpid()), element=job.index
    )
    return PackedTask(request, Claims(share, record.is_over), record, starter, job)


@dataclass(slots=True, kw_only=True)
class _Running:
    """A run in flight.

    :param slot: of the task's, which it has until it has ended
    :param began: when it was started, by the monotonic clock
    :param heeded: the request to cancel it that it was asked to end for
    :param is_warned: it was told that the time limit is near
    """

    claim: Claim
    task: LocalTask
    slot: int
    began: float
    heeded: Cancellation | None = None
    is_warned: bool = False


class PackedTask:
    """Executes runs until none is left for it. Use once."""

    def __init__(
        self, request: LocalRequest, claims: Claims, record: TaskRecord, starter: Starter, job: Job
    ) -> None:
        self._claims = claims
        self._record = record
        self._starter = starter
        self._job = job
        self._gpus = _dealt_out(os.environ.get("CUDA_VISIBLE_DEVICES"), request.slots)
        self._slots = request.slots
        self._running: list[_Running] = []
        self._longest_s = 0.0
        self._has_all = False  # nothing is left to be taken
        self._trouble: HpcorchError | None = None  # why no run can be taken or started
        self._has_started = False  # a run
        self._stopped_by: int | None = None
        self._is_warned = False
        self._goes_on = False  # a run was stopped near the time limit, and goes on if the task is requeued

    def execute(self) -> int:
        """Execute the task; its exit code."""
        with self._signals(), closing(self._starter):
            while self._running or not self._is_closing():
                self._start_what_fits()
                if not self._running and self._is_closing():
                    break
                self._starter.pause()
                self._reap()
                self._heed_requests()
        if self._stopped_by is not None:
            return EXIT_SIGNAL_BASE + self._stopped_by
        if self._trouble is not None:
            raise self._trouble
        if self._goes_on:
            requeue(self._job)
        return 0

    def _is_closing(self) -> bool:
        """Whether no further run is started.

        A task that is warned before it has started any starts one. If it did not, and the start of the program
        always takes so long, its array would be submitted again and again.
        """
        if self._has_all or self._trouble is not None or self._stopped_by is not None:
            return True
        if self._is_warned and self._has_started:
            return True
        return self._longest_s > 0 and self._end is not None and time.time() + self._longest_s > self._end

    @cached_property
    def _end(self) -> float | None:
        """When the task reaches its time limit, by the wall clock. Slurm may have to be asked, so only once."""
        return end_of(self._job)

    def _start_what_fits(self) -> None:
        while len(self._running) < self._slots and not self._is_closing() and self._starter.is_ready():
            try:
                claim = self._claims.next()
                self._record.note_cancelled()
            except OSError as error:
                self._trouble = RecordError(
                    f"no further run can be taken, because {error.filename} cannot be read or written"
                    f" ({error.strerror}): check that the node has the sweep directory mounted, with space left"
                )
                return
            except HpcorchError as error:
                self._trouble = error
                return
            if claim is None:
                self._has_all = True
            else:
                self._start(claim)

    def _start(self, claim: Claim) -> None:
        self._has_started = True
        taken, lanes = {one.slot for one in self._running}, {one.task.lane for one in self._running}
        slot = next(number for number in range(self._slots) if number not in taken)
        try:
            task = self._starter.start(
                claim.place, (), lanes, environ=self._gpus[slot], restart=claim.attempt.restart
            )
        except OSError as error:  # of this node: other tasks may start the run
            self._trouble = UnavailableError(
                f"no further run can be started here ({error}): check the limits on processes and open files of the"
                " node, and that its logs can be written"
            )
            return
        self._running.append(_Running(claim=claim, task=task, slot=slot, began=time.monotonic()))
        if self._stopped_by is not None:  # since the look before
            task.signal(self._stopped_by)

    def _reap(self) -> None:
        now = time.monotonic()
        for one in [one for one in self._running if one.task.has_ended]:
            self._running.remove(one)
            one.task.kill_left_overs()
            self._longest_s = max(self._longest_s, now - one.began)
            process = one.task.process
            warned = self._record.note_end(
                one.claim.attempt, process.pid, process.returncode, is_stopping=self._stopped_by is not None
            )
            self._goes_on = self._goes_on or warned
        for one in self._running:
            if one.task.deadline is not None and now >= one.task.deadline:
                one.task.end_for_timeout(now)

    def _heed_requests(self) -> None:
        """Warn runs, end those that somebody has asked to cancel, or ask them to save a checkpoint and end."""
        for one in self._running:
            # A process that has not claimed its run yet may die of the warning.
            if self._is_warned and not one.is_warned and self._record.has_begun(one.claim.attempt):
                one.is_warned = True
                one.task.signal(signal.SIGUSR1)
            asked = self._record.cancellation_of(one.claim.attempt.run)
            if asked is None or asked == one.heeded:
                continue
            one.heeded = asked
            if asked.checkpoint:
                one.task.signal(CHECKPOINT_SIGNAL)
            else:
                one.task.end_for_timeout(time.monotonic())

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """What Slurm asks of the task is passed on to the runs in flight."""

        def stop(number: int, _frame: FrameType | None) -> None:
            if self._stopped_by is None:
                self._stopped_by = number
                for one in list(self._running):
                    one.task.signal(number)

        def warn(_number: int, _frame: FrameType | None) -> None:
            self._is_warned = True

        for number in _STOPS:
            signal.signal(number, stop)
        signal.signal(signal.SIGUSR1, warn)
        signal.signal(CHECKPOINT_SIGNAL, signal.SIG_IGN)  # it is for single runs
        release_signals()
        yield


def _dealt_out(visible: str | None, slots: int) -> list[dict[str, str]]:
    """The variables of each slot: GPUs of its own where there are enough, else all of them share all."""
    devices = [name for name in (visible or "").split(",") if name]
    each = len(devices) // slots
    if slots == 1 or not each:
        return [{} for _ in range(slots)]
    parts = (devices[lane * each : (lane + 1) * each] for lane in range(slots))
    return [{"CUDA_VISIBLE_DEVICES": ",".join(part)} for part in parts]


if __name__ == "__main__":
    sys.exit(main())
