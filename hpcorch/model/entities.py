"""What the ledger's tables hold: sweeps, submissions, runs, attempts. Derived from events, never edited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpcorch.model.states import AttemptState, RunState, SubmissionState


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One ``-m`` invocation. Times are UTC, as :func:`hpcorch.model.ids.format_time` writes them."""

    id: str
    name: str
    backend: str
    directory: str
    project: str
    user: str
    host: str
    cwd: str
    argv: tuple[str, ...]
    root_seed: int
    sweeper: str
    created_at: str
    tags: tuple[str, ...] = ()
    cluster: str | None = None
    python: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One launch of a sweep, named by the index of its first run."""

    sweep: str
    batch: int
    count: int
    manifest: str
    manifest_digest: str
    task_digest: str
    options: Mapping[str, Any]
    planned_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One ``sbatch`` call, or one local pool. ``runs[i]`` is the run of array index i."""

    sweep: str
    submission: int
    batch: int
    runs: tuple[int, ...]
    token: str
    backend: str
    script: str
    state: SubmissionState
    intended_at: str
    job_id: str | None = None
    cluster: str | None = None
    reason: str | None = None
    keeper: str | None = None  # id of the job that looks after the sweep when this one is over


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One execution of a run.

    :param restored_from: the attempt that saved the checkpoint that this one goes on from; None if it began anew
    :param restored_step: that checkpoint's step
    :param checkpoint_step: the step of the last checkpoint that this attempt saved
    :param checkpoint: that checkpoint's file, relative to the sweep directory
    """

    sweep: str
    run: int
    submission: int
    restart: int
    state: AttemptState
    job_id: str | None = None  # "123_4" as Slurm shows it, else the raw id
    node: str | None = None
    pid: int | None = None
    started_at: str | None = None
    ended_at: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    slurm_state: str | None = None
    reason: str | None = None
    seed: int | None = None
    log: str | None = None
    log_start: int | None = None
    log_end: int | None = None
    result: Any = None
    error: str | None = None
    restored_from: str | None = None
    restored_step: int | None = None
    checkpoint_step: int | None = None
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One combination of parameters; its identity is stable over requeues and retries.

    :param key: digest of what determines the result (task configuration, code, seed); empty if that was not frozen
    :param metrics: name -> {"last" | "min" | "max": [step, value]}, as last summarised by the highest attempt that
        logged any; a value that is not finite is text
    """

    sweep: str
    run: int
    batch: int
    base: int
    state: RunState
    overrides: tuple[str, ...]
    params: Mapping[str, Any]
    changes: Mapping[str, Any]
    config_digest: str
    seed: int
    seed_source: str
    directory: str
    launcher: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    job_id: str | None = None
    submission: int | None = None
    attempts: int = 0
    node: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    result: Any = None
    error: str | None = None
    log: str | None = None
    metrics: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
