"""What :class:`hpcorch.runtime.run.run.Run` promises, kept in the process that executes the run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hpcorch import tunables
from hpcorch.errors import CheckpointError, UsageError
from hpcorch.journal.lines import JournalWriter
from hpcorch.journal.manifest import ManifestHeader
from hpcorch.model import events
from hpcorch.model.events import AttemptSeeded, AttemptSignalled, Fact
from hpcorch.runtime.context.claim import SupersededError, superseded_by
from hpcorch.runtime.context.drift import DriftLog
from hpcorch.runtime.context.output import say
from hpcorch.runtime.context.place import Place
from hpcorch.runtime.context.ranks import agreed, leader_said, torch_distributed
from hpcorch.runtime.context.signals import SignalOwner, Stopped
from hpcorch.runtime.run import generators
from hpcorch.runtime.run.arguments import check_schedule, step_number
from hpcorch.runtime.run.checkpoint import KEEP, Checkpoint, made
from hpcorch.runtime.run.epochs import Epochs
from hpcorch.runtime.run.metrics import Metrics, Summary
from hpcorch.runtime.run.schedule import Schedule, TimeLeft

if TYPE_CHECKING:
    from hpcorch.resources.leases.lease import LeaseNews
    from hpcorch.runtime.checkpoint.reading import Restored
    from hpcorch.runtime.checkpoint.store import CheckpointStore

T = TypeVar("T")


class ActiveRun:
    """What the run of this process does for its task.

    :param journal: None on ranks other than 0, which record nothing
    """

    def __init__(
        self, place: Place, header: ManifestHeader, signals: SignalOwner, journal: JournalWriter | None
    ) -> None:
        self._id = f"{header.sweep}/{place.attempt.run}"
        self.rank, self.ranks = place.rank, place.tasks
        self._place = place
        self._signals = signals
        self._journal = journal
        self._lock = threading.Lock()
        self._drift = header.drift
        self._time_left = TimeLeft(
            end=None if place.job is None else place.job.end,
            signal_delay_s=header.signal_delay_s,
            grace_s=header.kill_wait_s,
        )
        self._metrics = Metrics()
        self._flushed_at = self._summarised_at = time.monotonic()
        self._schedule = Schedule(last_step=0, saved_at=time.monotonic())
        self._generators: dict[str, Any] = {}
        self._epochs = Epochs()
        self._restored_step: int | None = None
        self._saved_step: int | None = None
        self._told_to_stop = False
        self._leases = header.leases

    @cached_property
    def _store(self) -> CheckpointStore:
        from hpcorch.runtime.checkpoint.store import CheckpointStore  # many tasks save nothing

        place = self._place
        return CheckpointStore(
            place.layout.checkpoints(place.attempt.run), place.attempt, rank=place.rank, ranks=place.tasks
        )

    @property
    def metrics(self) -> Summary:
        self._flush()
        return self._metrics.summary

    @property
    def has_progressed(self) -> bool:
        """Whether a checkpoint was saved beyond the one that the attempt began from."""
        return self._saved_step is not None and self._saved_step > (self._restored_step or 0)

    @property
    def was_told_to_stop(self) -> bool:
        """Whether the task has seen :attr:`stop_requested` as true."""
        return self._told_to_stop

    @property
    def stop_requested(self) -> bool:
        self._signals.only_note()
        if self._signals.stopped_by is not None and not self._told_to_stop:
            self._told_to_stop = True
            self._record_signals()
        return self._told_to_stop

    @property
    def seconds_left(self) -> float | None:
        return self._time_left.seconds(self._signals)

    def seeded(self, seed: int, libraries: list[str]) -> None:
        """The task has seeded these libraries again."""
        self._record(AttemptSeeded(seed=seed, libraries=libraries))

    def register_generator(self, name: str, generator: Any) -> None:
        generators.capture({name: generator})  # says at once if it is none
        self._generators[name] = generator

    def restore(self) -> Checkpoint | None:
        with self._signals.deferred():
            restored = self._restored_by_leader() if self._journal is not None else self._restored_like_leader()
            if restored is None:
                return None
            names = generators.restore(restored.generators, self._generators)
            self._metrics.restore(restored.extras.get("metrics", {}))
            self._epochs.restore(restored.extras.get("position"), restored.generators)
            self._restored_step = self._schedule.last_step = restored.step
            self._record(
                events.CheckpointRestored(
                    step=restored.step,
                    file=self._place.layout.relative(restored.path),
                    digest=restored.digest,
                    attempt=str(restored.attempt),
                    generators=names,
                ),
                durable=self.ranks > 1,
            )
            self._summarise()
        return Checkpoint(step=restored.step, state=restored.state, files=restored.files)

    def _restored_by_leader(self) -> Restored | None:
        restored, rejected = self._store.newest()
        for one in rejected:
            say(f"the checkpoint {one.path} is skipped: {one.reason}")
            self._record(events.CheckpointRejected(file=self._place.layout.relative(one.path), reason=one.reason))
        if restored is None:
            self._record(events.CheckpointAbsent(), durable=self.ranks > 1)
        return restored

    def _restored_like_leader(self) -> Restored | None:
        said = leader_said(self._place, events.CheckpointRestored, events.CheckpointAbsent)
        if not isinstance(said, events.CheckpointRestored):
            return None
        restored, _ = self._store.newest(like=Path(said.file).name)
        if restored is None:
            raise CheckpointError(
                f"rank 0 goes on from {said.file}, but this rank's part of it cannot be read: start the run again"
            )
        return restored

    def save(self, step: int, state: Any = None, *, keep: int = KEEP) -> None:
        check_schedule(every_steps=None, every_minutes=None, keep=keep)
        self._save(step_number(step), state, keep, files=None)

    @contextmanager
    def save_files(self, step: int, state: Any = None, *, keep: int = KEEP) -> Iterator[Path]:
        check_schedule(every_steps=None, every_minutes=None, keep=keep)
        number = step_number(step)
        directory = self._store.staging(number)
        yield directory
        self._save(number, state, keep, files=directory)

    def _save(self, step: int, state: Any, keep: int, *, files: Path | None) -> None:
        with self._signals.deferred():
            self._check_not_superseded()
            self._flush(durable=True)  # the attempt that continues from here logs only later steps
            extras = {"metrics": self._metrics.summary, "position": self._epochs.position}
            try:
                saved = self._store.save(
                    step,
                    made(state),
                    generators=generators.capture(self._generators),
                    extras=extras,
                    keep=keep,
                    files=files,
                )
            except CheckpointError as error:
                self._record(events.CheckpointFailed(step=step, reason=str(error)))
                raise
            self._saved_step = step
            self._schedule.saved_at = time.monotonic()
            relative = self._place.layout.relative
            self._record(
                events.CheckpointSaved(
                    step=step,
                    file=relative(saved.path),
                    size=saved.size,
                    digest=saved.digest,
                    seconds=round(saved.seconds, 3),
                    removed=[relative(path) for path in saved.removed],
                )
            )
            self._summarise()

    def _check_not_superseded(self) -> None:
        """A process that should be dead, of a node that came back, must not go on for long."""
        if self._journal is not None:
            later = superseded_by(self._place.layout, self._place.attempt)
            if later is not None:
                raise SupersededError(f"attempt {later} has taken over")

    def checkpoint(
        self,
        step: int,
        state: Any = None,
        *,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        keep: int = KEEP,
    ) -> None:
        check_schedule(every_steps=every_steps, every_minutes=every_minutes, keep=keep)
        step = step_number(step)
        self._signals.only_note()
        due = self._schedule.is_due(step, every_steps=every_steps, every_minutes=every_minutes)
        stop = self._signals.stopped_by is not None
        urgent = stop or (self._signals.warned_at or 0.0) > self._schedule.saved_at
        if self.ranks == 1:
            save = due or urgent
        elif (distributed := torch_distributed()) is not None:
            save, stop = agreed((due or urgent, stop), distributed)
        else:
            save = due
            _check_alone(every_minutes)
        if save:
            try:
                self.save(step, state, keep=keep)
            except CheckpointError as error:
                say(str(error))
            if stop and self.ranks > 1 and self.rank == 0:
                self._store.await_parts(self.seconds_left)
        if stop or (self.ranks == 1 and self._signals.stopped_by is not None):
            self._record_signals()
            raise Stopped(self._signals.stopped_by or signal.SIGTERM.name)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        with self._signals.stops_raise():
            yield

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._metrics.add(step, metrics)
        if time.monotonic() - self._flushed_at >= tunables.METRICS_FLUSH_S:
            self._flush()

    @contextmanager
    def lease(self, resource: str, count: int | None = None) -> Iterator[Any]:
        if resource not in self._leases:
            known = ", ".join(self._leases) or "none"
            raise UsageError(
                f"{resource!r} cannot be leased: at the launch the site profile had {known} that leases enforce"
            )
        from hpcorch.resources.leases.lease import Leases  # most tasks hold none

        terms = self._leases[resource]
        leases = Leases(
            resource=resource,
            directory=Path(terms["directory"]),
            capacity=terms["capacity"],
            expiry_s=terms["expiry_s"],
            run=self._id,
            observer=self._record_lease,
        )
        with leases.hold(terms.get("count", 1) if count is None else count) as lease:
            yield lease

    def _record_lease(self, news: LeaseNews) -> None:
        self._record(news.as_fact())

    def batches(self, loader: Iterable[T]) -> Iterator[T]:
        return self._epochs.batches(loader, self._generators)

    def record_input(self, path: str | os.PathLike[str]) -> str:
        from hpcorch.runtime.run.inputs import record_input

        return record_input(path, self._place, DriftLog(policies=self._drift, record=self.record))

    def record(self, fact: Fact) -> None:
        """Write a fact of the runtime's own to the journal."""
        self._record(fact)

    def close(self) -> None:
        """Record what was not recorded yet, when the task is over."""
        self._flush()
        self._summarise()

    def _flush(self, *, durable: bool = False) -> None:
        facts = list(self._metrics.take())
        for number, fact in enumerate(facts, start=1):
            self._record(fact, durable=durable and number == len(facts))
        self._flushed_at = time.monotonic()
        if self._flushed_at - self._summarised_at >= tunables.METRICS_SUMMARY_S:
            self._summarise()

    def _summarise(self) -> None:
        self._summarised_at = time.monotonic()
        if self._metrics.has_news:
            self._record(events.MetricsSummarised(metrics=self._metrics.news()))

    def _record_signals(self) -> None:
        for name in self._signals.unrecorded():
            self._record(AttemptSignalled(signal=name))

    def _record(self, fact: Fact, *, durable: bool = False) -> None:
        """Write a fact to the journal. One that cannot be written is told in the log, and the task goes on."""
        if self._journal is None:
            return
        with self._signals.deferred(), self._lock:
            try:
                self._journal.append(fact, durable=durable)
            except OSError as error:
                say(f"a fact ({fact.kind}) cannot be recorded, because {self._journal.path}: {error.strerror}")


def _check_alone(every_minutes: float | None) -> None:
    """Ranks that cannot agree on a step save at those that each reaches by itself."""
    if every_minutes is not None:
        raise UsageError(
            "every_minutes needs ranks that agree on a step, and torch.distributed is not initialised: use"
            " every_steps instead"
        )
