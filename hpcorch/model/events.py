"""Every fact that hpcorch records, one frozen class each.

An :class:`Event` is a fact with its place: the sweep, the source (the file that it was written to) and its
sequence number there. That triple is its identity, so reading a file twice adds nothing. Sources are

* ``control``: the sweep's control journal, written on the login side under the sweep's lock;
* ``launch-<first run>``: the manifest of one launch;
* ``<run>.s<submission>.r<restart>``: the journal of one attempt, written on the compute node.

Times are for people. Order is (submission, restart, sequence), since the clocks of hosts differ.
A fact of a kind that this version does not know is kept as :class:`UnknownFact`: a newer version may have
written it, and it must survive being read by an older one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

from hpcorch.model.ids import AttemptId
from hpcorch.model.job_states import JobState

CONTROL_SOURCE = "control"
NO_SUBMISSION = -1  # stands where something became of a run before it was ever submitted


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Base of all facts. ``kind`` names the class on disk and never changes.

    :cvar archived: whether the ledger stores it; what is not stays in the journal alone
    """

    kind: ClassVar[str]
    archived: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepCreated(Fact):
    """A sweep exists. Written once, first, by the launcher."""

    kind = "sweep-created"
    sweep: str  # its id: a sweep directory names its own sweep
    name: str
    backend: str  # slurm | local
    directory: str  # absolute path of the sweep directory
    project: str  # absolute path of the folder that holds .hpcorch/ledger.db
    user: str
    host: str
    cwd: str
    argv: list[str]
    root_seed: int
    sweeper: str
    tags: list[str] = field(default_factory=list)
    cluster: str | None = None
    python: str = ""
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlanned(Fact):
    """One launch of a sweep is frozen: its manifest and task file are on disk and will not change."""

    kind = "launch-planned"
    first_run: int
    count: int
    manifest: str  # path relative to the sweep directory
    manifest_digest: str
    task_digest: str
    options: dict[str, Any] = field(default_factory=dict)  # launcher keys as given


@dataclass(frozen=True, slots=True, kw_only=True)
class BasePlanned(Fact):
    """A composed task configuration that several runs of a launch start from."""

    kind = "base-planned"
    base: int  # number within its launch
    config: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlanned(Fact):
    """A run exists, with everything that determines it frozen."""

    kind = "run-planned"
    run: int
    base: int
    overrides: list[str]
    params: dict[str, Any]  # swept key -> value
    changes: dict[str, Any]  # dotted path -> value: the task configuration is the base with these applied
    config_digest: str
    seed: int
    seed_source: str  # config | derived | offered (to the commands of a script, as $HPCORCH_SEED)
    directory: str  # absolute path of the run's output directory
    launcher: dict[str, Any] | None = None  # launcher keys of its own, where they name swept values
    key: str | None = None  # digest of what determines the result: task configuration, code, seed


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFrozen(Fact):
    """The code of a launch is a snapshot, and every attempt runs from it.

    Where git could not tell something, ``problem`` says why, and ``commit`` and the like are not known.
    """

    kind = "code-frozen"
    launch: int
    digest: str  # SHA-256 in hexadecimal of the listing of the code state; names the snapshot
    archive: str  # absolute path of the snapshot
    root: str  # absolute path of the folder that the snapshot stands for
    files: int
    size: int  # bytes of all files
    left: list[list[str]] = field(default_factory=list)  # [path below the root, why it is not in the snapshot]
    left_count: int = 0  # how many were left out; the list above ends at some hundred
    commit: str | None = None
    branch: str | None = None
    remote: str | None = None  # URL without credentials
    dirty: bool | None = None  # whether tracked files differ from the commit
    diff: str | None = None  # path relative to the sweep directory, as `git apply` takes it
    diff_digest: str | None = None  # sha256:<hexadecimal> of that file
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentFrozen(Fact):
    """The environment that a launch was submitted in, which attempts are compared with."""

    kind = "environment-frozen"
    launch: int
    file: str  # the record as JSON (hpcorch.provenance.environment.record), relative to the sweep directory
    digest: str  # sha256:<hexadecimal> of that file
    fingerprint: str  # SHA-256 in hexadecimal of interpreter, packages, modules, container image


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReused(Fact):
    """A run is not executed, since one with the same key has completed: it takes over that one's result.

    The result is copied, so that this sweep stands for itself; the fields are those of :class:`AttemptEnded`.
    """

    kind = "run-reused"
    run: int
    of: str  # SWEEP/INDEX of the run that was executed
    key: str
    result: Any = None
    result_pickle: str | None = None
    result_file: str | None = None
    result_digest: str | None = None
    working_dir: str | None = None
    task_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReproduced(Fact):
    """A run of this sweep is another one once more: its code, configuration and seed, to compare the results."""

    kind = "run-reproduced"
    run: int
    of: str  # SWEEP/INDEX of the run that it repeats
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedingPlanned(Fact):
    """Slurm does not take all runs of a launch at once: whoever comes by submits the others when there is room."""

    kind = "feeding-planned"
    launch: int
    max_submit: int | None = None  # jobs that the user may have with Slurm, as far as that is known


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionIntended(Fact):
    """Somebody is about to submit. On disk before sbatch starts, so that no submission goes unnoticed."""

    kind = "submission-intended"
    submission: int
    launch: int
    runs: str  # array index i is the i-th of these run indices, "0-4,7"; of a user's script each index is the run
    token: str
    backend: str
    host: str
    script: str  # path relative to the sweep directory; empty where hpcorch submitted none
    script_digest: str | None = None  # sha256:<hexadecimal> of that file
    changed: dict[str, Any] | None = None  # launcher keys that differ from the launch's own
    throttle: dict[str, Any] | None = None  # {"units": {resource: of each run}, "bound": most runs at once, …}
    at_once: int | None = None  # array_parallelism, where it was asked for: so many runs of the sweep at once
    form: str | None = None  # SubmissionForm; None is "tasks"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionAccepted(Fact):
    """The submission exists under this job id; its tasks are held until released."""

    kind = "submission-accepted"
    submission: int
    job_id: str
    cluster: str | None = None
    cancelled_duplicates: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionReleased(Fact):
    """The submission's tasks may start, those of a throttled one as far as there is room for them."""

    kind = "submission-released"
    submission: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRejected(Fact):
    """The submission does not exist: Slurm refused it, or a settled search found nothing."""

    kind = "submission-rejected"
    submission: int
    reason: str
    limited: bool | None = None  # because of how many jobs the user has with Slurm


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionUnknown(Fact):
    """sbatch ended without an answer; whether the submission exists is to be settled by looking."""

    kind = "submission-unknown"
    submission: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRequested(Fact):
    """Somebody asked for these runs of a submission to be cancelled, held or released.

    Written before the scheduler is told, so that what it says afterwards can be put down to whom it belongs.
    """

    kind = "control-requested"
    submission: int
    action: str  # cancel | hold | release
    runs: str  # run indices: "0-4,7"
    user: str
    uid: int
    host: str
    checkpoint: bool = False  # they were asked to save a checkpoint first, and to end then


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperSubmitted(Fact):
    """A small job will look after the sweep when a submission's array is over, whoever is logged in then."""

    kind = "keeper-submitted"
    submission: int
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobObserved(Fact):
    """What the scheduler said of one array element. Written only when it differs from the last word."""

    kind = "job-observed"
    submission: int
    run: int
    restart: int
    state: str  # a word of JobState, for the local backend, too; a newer version may have others
    witness: str  # squeue | sacct | local
    reason: str | None = None
    node: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    start: str | None = None
    end: str | None = None
    over_memory: bool | None = None  # whether the log of what SIGKILL ended says that it exceeded its memory limit
    cancelled_by: int | None = None  # uid of who cancelled it, as sacct has it
    preempted: bool | None = None  # of a user's script that ended: whether Slurm had begun to preempt it

    @property
    def attempt(self) -> AttemptId:
        """The attempt that the fact is about."""
        return AttemptId(run=self.run, submission=self.submission, restart=self.restart)

    @property
    def job_state(self) -> JobState:
        """What ``state`` says; ``UNKNOWN`` if this version does not know the word."""
        return JobState.of(self.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptClaimed(Fact):
    """A task started and took its run. The journal's file name says which attempt this is."""

    kind = "attempt-claimed"
    host: str
    pid: int
    job_id: str | None = None  # raw id of this array element
    array_job_id: str | None = None
    array_task: int | None = None
    log: str | None = None
    log_offset: int | None = None  # bytes in the log before this attempt
    python: str = ""
    cpus: int | None = None
    gpus: str | None = None
    tasks: int = 1
    nodes: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptVerified(Fact):
    """What is about to run was compared with what was frozen, and is the same but for the drift on record."""

    kind = "attempt-verified"
    config_digest: str
    task_digest: str
    code_digest: str | None = None  # of the snapshot that the attempt imports from
    main: str | None = None  # where the task function of __main__ is from: snapshot | pickle
    main_problem: str | None = None  # why it is from its pickle, which was made at submission
    fingerprint: str | None = None  # of the environment, as in environment-frozen


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentFound(Fact):
    """The environment of an attempt, as far as it differs from the one that was frozen. Absent where nothing does.

    Packages are compared only where the fingerprints differ. Variables that Slurm and hpcorch set for each job
    are left out.
    """

    kind = "environment-found"
    host: str
    fingerprint: str
    changes: dict[str, dict[str, Any]]  # section -> name -> value; None for what is not there any more


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftFound(Fact):
    """Something is not as it was frozen.

    ``before`` is what was frozen and ``after`` what was found; None where there was, or is, nothing.
    """

    kind = "drift-found"
    aspect: str  # code | configuration | environment | inputs
    severity: str  # note | minor | major
    what: str  # such as "packages numpy", "module helpers", or a path
    policy: str  # refuse | warn | record: what was done about it
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRecorded(Fact):
    """The task named a file or directory that its result depends on."""

    kind = "input-recorded"
    path: str  # absolute
    form: str  # file | directory
    digest: str  # sha256:<hexadecimal> of the content; of a directory's list of names and digests
    size: int  # bytes of all files
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSeeded(Fact):
    """The random generators of these libraries were seeded."""

    kind = "attempt-seeded"
    seed: int
    libraries: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptCalled(Fact):
    """The task function was called."""

    kind = "attempt-called"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Fact):
    """A checkpoint is on disk, whole and durable."""

    kind = "checkpoint-saved"
    step: int
    file: str  # path relative to the sweep directory
    size: int  # bytes, files of other frameworks included
    digest: str  # of the file, which holds the digests of the others
    seconds: float  # that the save took
    removed: list[str] = field(default_factory=list)  # older checkpoints that made room


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFailed(Fact):
    """A checkpoint could not be saved; earlier ones are as they were."""

    kind = "checkpoint-failed"
    step: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRejected(Fact):
    """A checkpoint is broken, and was passed over when the newest valid one was looked for."""

    kind = "checkpoint-rejected"
    file: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRestored(Fact):
    """The attempt goes on from a checkpoint."""

    kind = "checkpoint-restored"
    step: int
    file: str
    digest: str
    attempt: str  # that saved it
    generators: list[str]  # whose random state was restored, such as random, numpy, torch


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointAbsent(Fact):
    """The task asked for a checkpoint to go on from, and there was no valid one: it starts at the beginning."""

    kind = "checkpoint-absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseReported(Fact):
    """What became of a lease of a shared resource: waiting, held, released, lost, over-held."""

    kind = "lease-reported"
    stage: str
    resource: str
    count: int
    number: int  # of the ticket; lower ones are served before
    ahead: int  # slots that those ahead have or wait for
    seconds: float  # waited, held, or without a sign of life


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsLogged(Fact):
    """What the task logged, entry after entry. The curve stays in the journal; the ledger takes the summary."""

    kind = "metrics-logged"
    archived: ClassVar[bool] = False
    entries: list[list[Any]]  # [step, {name: value}]; a value that is not finite is a string


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSummarised(Fact):
    """Where the metrics stand, over all that this attempt goes on from."""

    kind = "metrics-summarised"
    metrics: dict[str, dict[str, list[Any]]]  # name -> {"last" | "min" | "max": [step, value]}
    logged: str | None = None  # sha256:<hexadecimal> of the metrics-logged lines before it in the journal


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandStarted(Fact):
    """`hpcorch exec` started a command in a user's batch script: one step of the attempt."""

    kind = "command-started"
    step: int  # from 0 within the attempt
    argv: list[str]
    cwd: str
    host: str
    pid: int
    flags: list[str] | None = None  # of `hpcorch exec`


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEnded(Fact):
    """A command of a user's batch script is over. The result is what it wrote as JSON, if it was asked to."""

    kind = "command-ended"
    step: int
    exit_code: int  # as a shell has it: 128 and the number of a signal that ended it
    signal: str | None = None
    seconds: float = 0.0
    result: Any = None
    problem: str | None = None  # why it was not started, or why there is no result though it was to write one


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSignalled(Fact):
    """A signal arrived. What it meant is settled afterwards from what Slurm says."""

    kind = "attempt-signalled"
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(Fact):
    """The attempt is over, in its own words.

    ``outcome`` is one of completed, failed, refused, stopped, skipped, superseded. A result is in ``result``
    as JSON where it has a JSON form; where that form loses something, ``result_pickle`` (base64) or
    ``result_file`` (relative to the sweep directory) holds the object itself.
    """

    kind = "attempt-ended"
    outcome: str
    exit_code: int
    signal: str | None = None
    reason: str | None = None
    result: Any = None
    result_pickle: str | None = None
    result_file: str | None = None
    result_digest: str | None = None  # sha256:<hexadecimal> of that file
    error: str | None = None  # "ValueError: text"
    traceback: str | None = None
    error_pickle: str | None = None
    working_dir: str | None = None
    task_name: str | None = None
    log_end: int | None = None  # bytes in the log after this attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownFact(Fact):
    """A fact of a kind that this version does not know, kept as it was written."""

    kind = "unknown"
    original_kind: str
    body: dict[str, Any]


FACTS: Mapping[str, type[Fact]] = {
    cls.kind: cls
    for cls in (
        SweepCreated,
        LaunchPlanned,
        BasePlanned,
        RunPlanned,
        CodeFrozen,
        EnvironmentFrozen,
        RunReused,
        RunReproduced,
        FeedingPlanned,
        SubmissionIntended,
        SubmissionAccepted,
        SubmissionReleased,
        SubmissionRejected,
        SubmissionUnknown,
        ControlRequested,
        KeeperSubmitted,
        JobObserved,
        AttemptClaimed,
        AttemptVerified,
        EnvironmentFound,
        DriftFound,
        InputRecorded,
        AttemptSeeded,
        AttemptCalled,
        CheckpointSaved,
        CheckpointFailed,
        CheckpointRejected,
        CheckpointRestored,
        CheckpointAbsent,
        LeaseReported,
        MetricsLogged,
        MetricsSummarised,
        CommandStarted,
        CommandEnded,
        AttemptSignalled,
        AttemptEnded,
    )
}

_FIELDS: Mapping[str, tuple[str, ...]] = {
    kind: tuple(item.name for item in fields(cls)) for kind, cls in FACTS.items()
}
_REQUIRED: Mapping[str, frozenset[str]] = {
    kind: frozenset(
        item.name for item in fields(cls) if item.default is MISSING and item.default_factory is MISSING
    )
    for kind, cls in FACTS.items()
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact in its place. ``seq`` counts from 0 within the source."""

    sweep: str
    source: str
    seq: int
    time: str
    fact: Fact

    @property
    def id(self) -> str:
        """The identity that makes ingestion idempotent."""
        return f"{self.sweep}/{self.source}/{self.seq}"


def kind_of(fact: Fact) -> str:
    """The kind under which a fact is written, also where this version does not know it."""
    return fact.original_kind if isinstance(fact, UnknownFact) else fact.kind


def to_body(fact: Fact) -> dict[str, Any]:
    """The fields of a fact as they are written: those that differ from nothing (``None``) only."""
    if isinstance(fact, UnknownFact):
        return dict(fact.body)
    return {name: value for name in _FIELDS[fact.kind] if (value := getattr(fact, name)) is not None}


def from_body(kind: str, body: Mapping[str, Any]) -> Fact:
    """Read a fact back. Fields that this version does not know are ignored.

    A kind that this version does not know, or a known one that lacks a field it needs, becomes UnknownFact.
    """
    cls = FACTS.get(kind)
    if cls is None or not _REQUIRED[kind] <= body.keys():
        return UnknownFact(original_kind=kind, body=dict(body))
    return cls(**{name: body[name] for name in _FIELDS[kind] if name in body})
