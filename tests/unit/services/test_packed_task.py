"""When a packed task starts its runs, when it does so no more, and what it tells those in flight."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from hpcorch.errors import HpcorchError, RecordError
from hpcorch.model.ids import AttemptId
from hpcorch.services.local.request import LocalRequest
from hpcorch.services.packing.claims import Claim
from hpcorch.services.packing.task import PackedTask
from hpcorch.slurm.job_environment import Job

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in HANDLED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Trial:
    """A task whose runs end at the given look at them, counted from 1."""

    def __init__(self, *runs: int, looks: int = 2, fails: Exception | None = None) -> None:
        self.waiting: list[int] = list(runs)
        self.looks = looks
        self.fails = fails
        self.started: list[int] = []
        self.signals: list[tuple[int, int]] = []
        self.cannot_start: set[int] = set()
        self.before_start: Callable[[], None] = lambda: None
        self.begun: set[int] = set(runs)

    def execute(self, slots: int = 1) -> int:
        request = LocalRequest(sweep="s", launch=0, runs=(), slots=slots)
        job = Job(raw_id="7", array_id="7", index=0, end=None)
        here: Any = self
        task = PackedTask(request, here, here, here, job)
        task.__dict__["_end"] = None  # Slurm is not asked
        return task.execute()

    # As its claims.

    def next(self) -> Claim | None:
        if self.waiting:
            run = self.waiting.pop(0)
            return Claim(place=run, attempt=AttemptId(run=run, submission=0, restart=0))
        if self.fails is not None:
            raise self.fails
        return None

    # As its record.

    def has_begun(self, attempt: AttemptId) -> bool:
        return attempt.run in self.begun

    def note_end(self, attempt: AttemptId, pid: int, returncode: int, *, is_stopping: bool) -> bool:
        return False

    def note_cancelled(self) -> None:
        """None is."""

    def cancellation_of(self, run: int) -> None:
        return None

    # As what starts its runs.

    def is_ready(self) -> bool:
        self.before_start()
        return True

    def start(self, index: int, gpus: Sequence[str], lanes: object, **_: object) -> Any:
        if index in self.cannot_start:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.started.append(index)
        return Process(self, index, len(lanes))  # type: ignore[arg-type]

    def pause(self) -> None:
        """No time passes."""

    def close(self) -> None:
        """Nothing is left."""


class Process:
    def __init__(self, trial: Trial, run: int, lane: int) -> None:
        self.trial, self.run, self.lane = trial, run, lane
        self.deadline = None
        self.process = SimpleNamespace(pid=1, returncode=0)
        self.left = trial.looks

    @property
    def has_ended(self) -> bool:
        self.left -= 1
        return self.left <= 0

    def signal(self, number: int) -> None:
        self.trial.signals.append((self.run, number))

    def kill_left_overs(self) -> None:
        """It has started nothing."""


def warn() -> None:
    os.kill(os.getpid(), signal.SIGUSR1)


def test_all_runs_are_executed():
    trial = Trial(1, 2, 3)
    assert trial.execute() == 0
    assert trial.started == [1, 2, 3]


def test_a_task_that_is_warned_starts_no_further_run_and_warns_those_in_flight():
    trial = Trial(1, 2, 3)
    trial.before_start = lambda: warn() if trial.started else None
    trial.execute(slots=2)
    assert trial.started == [1, 2]
    assert trial.signals == [(1, signal.SIGUSR1), (2, signal.SIGUSR1)]


def test_a_task_that_is_warned_while_its_program_starts_executes_one_run_all_the_same():
    trial = Trial(1, 2, 3)
    trial.before_start = warn
    assert trial.execute() == 0
    assert trial.started == [1]
    assert trial.signals == [(1, signal.SIGUSR1)]


def test_a_run_is_not_warned_before_it_can_heed_it():
    trial = Trial(1, looks=5)
    trial.begun.clear()
    trial.before_start = warn
    trial.execute()
    assert trial.signals == []


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device", "list"), RecordError("torn")])
def test_what_is_in_flight_ends_before_the_task_fails_for_want_of_a_record(error):
    trial = Trial(1, looks=9, fails=error)
    with pytest.raises(HpcorchError, match=r"No space left on device|torn"):
        trial.execute(slots=2)
    assert trial.started == [1]
    assert trial.signals == []


def test_where_a_run_cannot_be_started_the_others_are_left_to_other_tasks():
    trial = Trial(1, 2, 3, looks=9)
    trial.cannot_start.add(2)
    with pytest.raises(HpcorchError, match="no further run can be started here"):
        trial.execute(slots=2)
    assert trial.started == [1]
    assert trial.signals == []
    assert trial.waiting == [3]
