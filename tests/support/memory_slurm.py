"""A Slurm in memory, of which every moment between two requests can be seen, and that can break off anywhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from hpcorch.errors import NotFoundError, SlurmUnavailableError
from hpcorch.model.ids import parse_ranges
from hpcorch.model.job_states import JobState
from hpcorch.services.throttling.state import Entry, tag
from hpcorch.slurm.answers.scontrol import ClusterConfig, parse_config
from hpcorch.slurm.answers.squeue import QueueRow
from tests.support import entities


class Killed(BaseException):
    """The process died here."""


@dataclass
class Task:
    state: JobState = JobState.PENDING
    held: bool = True


@dataclass
class Array:
    units: dict[str, int]
    tasks: dict[int, Task]
    comment: str
    throttle: int = 1

    def count(self, *states: JobState) -> int:
        return sum(task.state in states for task in self.tasks.values())


@dataclass
class MemorySlurm:
    """What throttles ask of a client. ``meanwhile`` is called before and after each request."""

    arrays: dict[str, Array] = field(default_factory=dict)
    meanwhile: Callable[[], None] = lambda: None
    dies_in: int | None = None
    down: bool = False
    asked: list[str] = field(default_factory=list)

    def submit(self, size: int, units: dict[str, int], bound: int | None = None) -> Entry:
        job_id = str(len(self.arrays) + 1)
        comment = f"hpcorch:{job_id:0>32} {tag(units, bound)}"
        self.arrays[job_id] = Array(dict(units), {i: Task() for i in range(size)}, comment)
        return Entry(
            job_id=job_id,
            sweep=f"sweep {job_id}",
            directory="/sweep",
            submission=0,
            units=units,
            token=f"{job_id:0>32}",
            bound=bound,
        )

    def used(self, name: str) -> int:
        running = (JobState.RUNNING, JobState.SUSPENDED)
        return sum(one.count(*running) * one.units.get(name, 0) for one in self.arrays.values())

    def start(self, among: random.Random | None = None, *, chance: float = 1.0) -> None:
        """Start what the throttles let; each with a chance, if random numbers are given."""
        for array in self.arrays.values():
            for task in array.tasks.values():
                room = array.count(JobState.RUNNING, JobState.SUSPENDED) < array.throttle
                lucky = among is None or among.random() < chance
                if task.state is JobState.PENDING and not task.held and room and lucky:
                    task.state = JobState.RUNNING

    def config(self) -> ClusterConfig:
        return parse_config("ClusterName = lab\n")

    def running(self) -> list[Task]:
        return [t for one in self.arrays.values() for t in one.tasks.values() if t.state is JobState.RUNNING]

    # What the protocol has.
    def queue(self, job_ids: Iterable[str]) -> list[QueueRow]:
        wanted = list(job_ids)
        if not wanted:
            return []
        self._step("queue")
        rows = [_row(job, i, task, self.arrays[job]) for job, i, task in self._chosen(wanted)]
        self._step("")
        return rows

    def find_token(self, token: str, since: datetime) -> list[str]:
        self._step("find_token")
        return [job for job, one in self.arrays.items() if token in one.comment]

    def hold(self, job_ids: Sequence[str]) -> None:
        self._set_held("hold", job_ids, True)

    def release(self, job_ids: Sequence[str]) -> None:
        self._set_held("release", job_ids, False)

    def update_throttle(self, job_id: str, tasks: int) -> None:
        assert tasks >= 1
        self._step("update_throttle")
        if not self._alive(job_id):
            raise NotFoundError(job_id)
        self.arrays[job_id].throttle = tasks
        self._step("")

    def _set_held(self, verb: str, job_ids: Sequence[str], held: bool) -> None:
        self._step(verb)
        for _, _, task in self._chosen(job_ids):
            task.held = held
        self._step("")

    def _alive(self, job_id: str) -> bool:
        return any(not task.state.is_final for task in self.arrays[job_id].tasks.values())

    def _chosen(self, words: Iterable[str]) -> list[tuple[str, int, Task]]:
        found = []
        for word in words:
            job, _, text = word.partition("_")
            indices = parse_ranges(text.strip("[]")) if text else self.arrays[job].tasks
            found += [(job, i, self.arrays[job].tasks[i]) for i in indices]
        return found

    def _step(self, verb: str) -> None:
        if verb:
            self.asked.append(verb)
        if self.down:
            raise SlurmUnavailableError("Slurm did not answer")
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                self.dies_in = None
                raise Killed
        self.meanwhile()


def _row(job: str, index: int, task: Task, array: Array) -> QueueRow:
    reason = "JobHeldUser" if task.held else "JobArrayTaskLimit"
    shown = reason if task.state is JobState.PENDING else None
    return entities.queue_row(job, index, task.state, reason=shown, comment=array.comment)
