"""What the ledger's tables hold: sweeps, submissions, runs, attempts. Derived from events, never edited."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from hpcorch.model.ids import AttemptId
from hpcorch.model.states import AttemptState, Backend, RunState, SubmissionForm, SubmissionState
from hpcorch.quick_dataclasses import dataclass

SBATCH, EXEC = WRAPPERS = ("sbatch", "exec")  # commands of ours, where they stand for a sweeper


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One ``-m`` invocation. Times are UTC, as :func:`hpcorch.model.ids.format_time` writes them."""

    id: str
    name: str
    backend: Backend
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

    @property
    def is_wrapped(self) -> bool:
        """Whether it is a script or a command of the user's, and no launch of Hydra's."""
        return self.sweeper in WRAPPERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One launch of a sweep, named by the index of its first run."""

    sweep: str
    first_run: int
    count: int
    manifest: str
    manifest_digest: str
    task_digest: str
    options: Mapping[str, Any]
    planned_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """A request to cancel runs of a submission.

    :param user: who asked
    :param checkpoint: they were asked to save a checkpoint and then end
    """

    runs: frozenset[int]
    user: str
    checkpoint: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One ``sbatch`` call, or one local pool.

    :param tasks: how many elements a packed array has; None where each run has an element of its own
    """

    sweep: str
    submission: int
    launch: int
    runs: tuple[int, ...]
    token: str
    backend: Backend
    script: str
    state: SubmissionState
    intended_at: str
    job_id: str | None = None
    cluster: str | None = None
    reason: str | None = None
    keeper: str | None = None  # id of the job that tends the sweep when this one is over
    form: SubmissionForm = SubmissionForm.TASKS
    cancellations: tuple[Cancellation, ...] = ()
    tasks: int | None = None
    printed: str | None = None  # the job id that sbatch printed, of which nobody knows yet whether it is this one's

    def cancellation_of(self, run: int) -> Cancellation | None:
        """The last request to cancel a run of it; None if nobody asked."""
        return next((asked for asked in reversed(self.cancellations) if run in asked.runs), None)

    @property
    def is_packed(self) -> bool:
        """Whether its elements take the runs one by one, so that nobody knows beforehand which executes which."""
        return self.tasks is not None

    @property
    def owns_jobs(self) -> bool:
        """Whether a run's job is the run's alone, and over when the run is: not a script's, nor a packed task."""
        return not self.form.is_script and not self.is_packed

    @property
    def elements(self) -> range:
        """The indices of the array."""
        return range(len(self.runs) if self.tasks is None else self.tasks)

    @property
    def is_command(self) -> bool:
        """Whether it is a command in a job of the user's own, of which hpcorch submitted no script."""
        return self.form.is_script and not self.script

    @property
    def ends_by_slurm(self) -> bool:
        """Whether Slurm alone tells how its tasks end: a user's script does not record that, a command does."""
        return self.form.is_script and not self.is_command

    def index_of(self, run: int) -> int | None:
        """The array index of a run; None of a job that is no array or packed, and of a run that is not in here.

        Found by bisection where the runs ascend, as they nearly always do: a linear search for each run would make
        an array of 100,000 take minutes to fold.
        """
        if self.form is SubmissionForm.SCRIPT_JOB or self.is_packed:
            return None
        position = bisect_left(self.runs, run)
        if position >= len(self.runs) or self.runs[position] != run:
            position = self.runs.index(run) if run in self.runs else -1
        if position < 0:
            return None
        return run if self.form is SubmissionForm.SCRIPT_ARRAY else position

    def run_at(self, index: int | None) -> int | None:
        """The run of an array index, None standing for a job that is no array; None if there is no such run."""
        if self.form is SubmissionForm.SCRIPT_JOB:
            return self.runs[0] if index is None else None
        if index is None or self.is_packed:
            return None
        if self.form is SubmissionForm.SCRIPT_ARRAY:
            return index if self.index_of(index) is not None else None
        return self.runs[index] if 0 <= index < len(self.runs) else None

    def element(self, run: int) -> str | None:
        """A run's job as Slurm shows it, ``369_3``; ``369`` of what is no array or packed, or no job of Slurm's."""
        if self.job_id is None:
            return None
        if self.form is SubmissionForm.SCRIPT_JOB or self.is_packed:
            return self.job_id if run in self.runs else None
        index = self.index_of(run)
        if index is None:
            return None
        return f"{self.job_id}_{index}" if self.backend is Backend.SLURM else self.job_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One execution of a run.

    :param restored_from: the attempt that saved the checkpoint that this one goes on from; None if it began anew
    :param restored_step: that checkpoint's step
    :param checkpoint_step: the step of the last checkpoint that this attempt saved
    :param checkpoint: that checkpoint's file, relative to the sweep directory
    :param job_restart: of a packed task that executed it: how often Slurm had started that again
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
    job_restart: int | None = None

    @property
    def id(self) -> AttemptId:
        """What names it within its sweep."""
        return AttemptId(run=self.run, submission=self.submission, restart=self.restart)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One combination of parameters; its identity is stable over requeues and retries.

    :param key: digest of what determines the result (task configuration, code, seed); empty if that was not frozen
    :param reused_from: SWEEP/INDEX of the run whose result it took over instead of being executed
    :param lingers: it is over, and its process or job was still there when somebody looked after that
    :param metrics: name -> {"last" | "min" | "max": [step, value]}, as last summarised by the highest attempt that
        logged any; a value that is not finite is text
    """

    sweep: str
    run: int
    launch: int
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
    reused_from: str | None = None
    result: Any = None
    error: str | None = None
    log: str | None = None
    lingers: bool = False
    metrics: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
