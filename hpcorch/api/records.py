"""The records that :class:`hpcorch.Ledger` answers with. Fields are named as the columns of the ledger's views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from hpcorch.ledger import SweepSummary
from hpcorch.ledger.writing.rows import attempt_of, run_of
from hpcorch.model.entities import Attempt, Run
from hpcorch.model.events import Event, kind_of, to_body
from hpcorch.model.ids import AttemptId, parse_time
from hpcorch.model.states import AttemptState, RunState
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.json_values import counts_as_plain, metric_as_plain
from hpcorch.services.reports.attempt_history import CheckpointState, SavedCheckpoint
from hpcorch.services.reports.tables import duration_s, moment

_Record = TypeVar("_Record")

_PATHS = frozenset({"directory", "project", "cwd", "log"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRecord:
    """A sweep: one command with ``-m``, or one batch script.

    A state, here and below, is text (``sweep.state == "RUNNING"``) and knows whether it ``is_final``.
    """

    sweep: str  # its id
    name: str
    state: RunState  # what stands for all of its runs: the worst if all are over
    runs: int  # how many
    counts: Mapping[str, int]  # how many are in which state; only states that some run is in
    created_at: datetime  # UTC
    looked_at: datetime | None  # how old all this is (UTC): its journals were read, of a script Slurm was asked
    backend: str  # slurm | local
    cluster: str | None
    user: str
    host: str
    directory: Path
    project: Path
    cwd: Path
    argv: tuple[str, ...]  # the command line
    tags: tuple[str, ...]
    root_seed: int
    versions: Mapping[str, str]  # of hpcorch, Hydra and others at the launch

    @property
    def id(self) -> str:
        """The sweep's id, as a selector names it."""
        return self.sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRecord:
    """A metric that a run logged: its last, lowest and highest value, each with its step.

    Lowest and highest are of the finite values, and None if there is none.
    """

    last: float
    last_step: int
    min: float | None
    min_step: int | None
    max: float | None
    max_step: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run: one combination of parameters, over all of its attempts."""

    sweep: str
    run: int  # its index within the sweep
    state: RunState
    overrides: tuple[str, ...]  # as they were written
    params: Mapping[str, Any]  # swept or overridden parameter -> value
    result: Any  # what the task returned, as far as it is made of numbers, text, lists and mappings
    metrics: Mapping[str, MetricRecord]
    seed: int
    seed_source: str  # config | derived
    attempts: int  # how many
    job_id: str | None  # of the last attempt, "123_4" as Slurm shows it
    node: str | None  # of the last attempt
    started_at: datetime | None  # UTC
    ended_at: datetime | None  # UTC
    duration_s: float | None  # seconds from start to end; None while it is not over
    exit_code: int | None
    reason: str | None
    reused_from: str | None  # SWEEP/RUN whose result it took over instead of being executed
    error: str | None  # the exception that the task raised
    log: Path | None
    directory: Path  # its output directory
    config_digest: str
    key: str  # digest of what determines the result: task configuration, code, seed; empty if that was not frozen

    @property
    def id(self) -> str:
        """``SWEEP/RUN``, as a selector names it."""
        return f"{self.sweep}/{self.run}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """An attempt: one execution of a run."""

    sweep: str
    run: int
    submission: int  # the attempts of a run are in order of (submission, restart)
    restart: int
    state: AttemptState
    job_id: str | None
    node: str | None
    started_at: datetime | None  # UTC
    ended_at: datetime | None  # UTC
    duration_s: float | None  # seconds from start to end; None while it is not over
    exit_code: int | None
    signal: str | None  # the signal that asked it to end
    slurm_state: str | None  # what Slurm said of it
    reason: str | None
    error: str | None
    result: Any
    log: Path | None
    log_start: int | None  # its part of the log file, in bytes
    log_end: int | None
    restored_from: str | None  # the attempt that saved the checkpoint that this one began with; None: from nothing
    restored_step: int | None
    checkpoint_step: int | None  # of the last checkpoint that it saved
    checkpoint: str | None  # that checkpoint's file, relative to the sweep directory


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRecord:
    """A checkpoint that was saved."""

    sweep: str
    run: int
    submission: int  # with restart: the attempt that saved it
    restart: int
    step: int
    file: str  # relative to the sweep directory
    size: int  # bytes
    digest: str
    seconds: float  # that the save took
    saved_at: datetime  # UTC
    state: CheckpointState  # kept | removed | broken


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """An event: one recorded fact."""

    sweep: str
    run: int | None  # None if it is about the whole sweep
    source: str  # the attempt whose journal it is from, such as 3.s0.r1; "control" of what the login side decided
    source_seq: int  # number within the source
    kind: str
    time: datetime  # UTC
    body: Mapping[str, Any]  # the fact's own fields, as they are recorded: nan is {"$float": "nan"}


def sweep_record(summary: SweepSummary) -> SweepRecord:
    sweep = summary.sweep
    return _record(
        SweepRecord,
        sweep,
        sweep=sweep.id,
        backend=sweep.backend.value,
        state=summary.state,
        runs=summary.runs,
        counts=counts_as_plain(summary.counts),
        looked_at=moment(summary.looked_at),
    )


def run_record(run: Run) -> RunRecord:
    metrics = {name: _metric_record(metric) for name, metric in run.metrics.items()}
    return _record(RunRecord, run, metrics=metrics, duration_s=duration_s(run.started_at, run.ended_at))


def attempt_record(attempt: Attempt) -> AttemptRecord:
    return _record(AttemptRecord, attempt, duration_s=duration_s(attempt.started_at, attempt.ended_at))


def checkpoint_record(run: Run, saved: SavedCheckpoint) -> CheckpointRecord:
    attempt = AttemptId.parse(f"{run.run}.{saved.attempt}")
    return _record(
        CheckpointRecord,
        saved,
        sweep=run.sweep,
        run=run.run,
        submission=attempt.submission,
        restart=attempt.restart,
    )


def event_record(event: Event) -> EventRecord:
    return EventRecord(
        sweep=event.sweep,
        run=run_of(event, attempt_of(event.source)),
        source=event.source,
        source_seq=event.seq,
        kind=kind_of(event.fact),
        time=parse_time(event.time),
        body=to_body(event.fact),
    )


def _metric_record(metric: Mapping[str, Sequence[Any]]) -> MetricRecord:
    values = metric_as_plain(metric)
    for part in ("last", "min", "max"):
        values[part] = None if values[part] is None else float(values[part])  # nan and inf are text in the record
    return MetricRecord(**values)


def _record(form: type[_Record], entity: Any, **others: Any) -> _Record:
    """A record with the entity's fields of the same names: times as datetimes, paths as paths."""
    names = [item.name for item in fields(form) if item.name not in others]  # type: ignore[arg-type]
    return form(**{name: _value(name, getattr(entity, name)) for name in names}, **others)


def _value(name: str, value: Any) -> Any:
    if name.endswith("_at"):
        return moment(value)
    return Path(value) if name in _PATHS and value is not None else value
