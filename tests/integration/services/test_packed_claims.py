"""The tasks of a packed array take its runs, are killed and started again: each run is executed to one end."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lines import JournalWriter
from hpcorch.model.events import AttemptClaimed, AttemptEnded
from hpcorch.model.ids import AttemptId
from hpcorch.services.packing.claims import Claim, Claims, Share


def nothing_is_over(_attempt: AttemptId) -> bool:
    return False


class Array:
    """A packed array on a disk, whose tasks do one thing at a time, in any order."""

    def __init__(self, folder: Path, runs: int, tasks: int) -> None:
        self.layout = SweepLayout(folder)
        self.layout.journals.mkdir(parents=True)
        self.runs = [10 + place for place in range(runs)]
        self.tasks = [Task(self, element, tasks) for element in range(tasks)]
        self.ended: Counter[int] = Counter()
        self.killed: Counter[int] = Counter()  # run -> how often it was in flight when its task was killed

    def executing(self) -> list[int]:
        return [run for task in self.tasks for run in task.in_flight]

    def attempts(self) -> Counter[int]:
        return Counter(attempt.run for attempt in self.layout.attempts())


class Task:
    """One element; ``restart`` counts its starts."""

    def __init__(self, array: Array, element: int, tasks: int) -> None:
        self.array = array
        self.share = Share(layout=array.layout, submission=0, runs=array.runs, element=element, tasks=tasks)
        self.restart = -1
        self.claims: Claims | None = None
        self.handed_out: list[Claim] = []  # not claimed yet, as where a process is being forked
        self.in_flight: dict[int, JournalWriter] = {}
        self.has_all = False

    def start(self) -> None:
        if self.claims is None:
            self.restart += 1
            self.claims = Claims(replace(self.share, start=self.restart), nothing_is_over)

    def take(self) -> None:
        if self.claims is not None and len(self.handed_out) + len(self.in_flight) < 2:
            claim = self.claims.next()
            self.has_all = claim is None
            self.handed_out += [] if claim is None else [claim]

    def claim(self) -> None:
        if not self.handed_out:
            return
        attempt = self.handed_out.pop(0).attempt
        try:
            journal = JournalWriter.create(self.array.layout.journal(attempt))
        except FileExistsError:
            return  # another task was quicker
        assert attempt.run not in self.array.executing()
        assert not self.array.ended[attempt.run]
        journal.append(AttemptClaimed(host="n1", pid=1, array_task=self.share.element, job_restart=self.restart))
        self.in_flight[attempt.run] = journal

    def end(self) -> None:
        if self.in_flight:
            run = next(iter(self.in_flight))
            with self.in_flight.pop(run) as journal:
                journal.append(AttemptEnded(outcome="completed", exit_code=0))
            self.array.ended[run] += 1

    def kill(self) -> None:
        self.array.killed.update(self.in_flight.keys())
        for journal in self.in_flight.values():
            journal.close()
        self.claims, self.handed_out, self.in_flight, self.has_all = None, [], {}, False


ACTIONS = (Task.start, Task.take, Task.claim, Task.end, Task.kill)


@given(
    runs=st.integers(1, 9),
    tasks=st.integers(1, 4),
    steps=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(ACTIONS)), max_size=80),
)
def test_any_order_of_tasks_and_kills_executes_each_run_to_one_end(runs, tasks, steps):
    with tempfile.TemporaryDirectory() as folder:
        array = Array(Path(folder), runs, tasks)
        for number, action in steps:
            action(array.tasks[number % tasks])
        for _ in range(3 * runs + 3):  # Slurm starts all of them again, and kills none any more
            for task in array.tasks:
                for action in (Task.start, Task.take, Task.claim, Task.end):
                    action(task)
        assert all(task.has_all and not task.in_flight for task in array.tasks)
        assert array.ended == dict.fromkeys(array.runs, 1)
        assert array.attempts() == {run: 1 + array.killed[run] for run in array.runs}


def test_a_task_begins_with_its_own_share_and_then_helps_the_others(tmp_path):
    array = Array(tmp_path, runs=9, tasks=3)
    first, second, _ = array.tasks
    for task in (first, second):
        task.start()
    for _ in range(3):
        for action in (Task.take, Task.claim, Task.end):
            action(second)
    assert sorted(array.ended) == [13, 14, 15]
    for _ in range(6):
        for action in (Task.take, Task.claim, Task.end):
            action(second)
    first.take()
    assert second.claims is not None
    assert not first.handed_out
    assert sorted(array.ended) == array.runs


def test_an_attempt_is_further_on_by_the_starts_of_its_element_since(tmp_path):
    """Slurm's word on a start that came to nothing is not about the attempt that a later one makes."""
    array = Array(tmp_path, runs=2, tasks=1)
    (task,) = array.tasks
    for action in (Task.start, Task.take, Task.claim, Task.kill, Task.start, Task.kill, Task.start, Task.take):
        action(task)
    assert [str(claim.attempt) for claim in task.handed_out] == ["10.s0.r2"]
    for action in (Task.kill, Task.start, Task.take):  # it is noted, and was not claimed
        action(task)
    assert [str(claim.attempt) for claim in task.handed_out] == ["10.s0.r3"]
