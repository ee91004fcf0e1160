"""An attempt from its claim to its end."""

from __future__ import annotations

from typing import Any

from hpcorch.model.events.base import Fact
from hpcorch.model.states import AttemptOutcome
from hpcorch.quick_dataclasses import dataclass


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
    job_restart: int | None = None  # of a packed task: how often Slurm had started it again
    forked: bool = False  # from a process that had executed the program up to its call of the function


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptVerified(Fact):
    """What is about to run was compared with what was frozen. It is the same, except for the drift on record."""

    kind = "attempt-verified"
    config_digest: str
    task_digest: str
    code_digest: str | None = None  # of the snapshot that the attempt imports from
    entry: str | None = None  # a word of Entry
    entry_problem: str | None = None  # why it is the function
    fingerprint: str | None = None  # of the environment, as in environment-frozen


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentFound(Fact):
    """How the environment of an attempt differs from the frozen one. Written only if something differs.

    Packages are compared only if the fingerprints differ. Variables that Slurm and hpcorch set for each job
    are left out.
    """

    kind = "environment-found"
    host: str
    fingerprint: str
    changes: dict[str, dict[str, Any]]  # section -> name -> value; None for what is not there any more


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftFound(Fact):
    """Something differs from what was frozen.

    ``before`` is what was frozen, ``after`` what was found. None means that it did not exist.
    """

    kind = "drift-found"
    aspect: str  # a word of Aspect
    severity: str  # a word of Severity
    what: str  # such as "packages numpy", "module helpers", "script other.py", or a path
    policy: str  # a word of Policy: what was done about it
    before: str | None = None
    after: str | None = None

    @property
    def script(self) -> str | None:
        """The script that a job started by its path, and that was not the frozen one; None if it is other drift."""
        kind, _, name = self.what.partition(" ")
        return name if kind == "script" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSeeded(Fact):
    """The random generators of these libraries were seeded."""

    kind = "attempt-seeded"
    seed: int
    libraries: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptCalled(Fact):
    """The attempt's work begins: the program is executed up to its function, or a command is started.

    Ranks other than 0 begin when they see it. The fields are set for a command, whose rank 0 decides.
    """

    kind = "attempt-called"
    step: str | None = None  # of the job, as Slurm numbers its steps: those of a script may run at once
    warn_at: float | None = None  # seconds since 1970: ranks send their command SIGTERM, near the limit
    kill_at: float | None = None  # likewise SIGKILL


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSignalled(Fact):
    """A signal arrived. Its meaning is decided later, from what Slurm reports."""

    kind = "attempt-signalled"
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(Fact):
    """The attempt is over. The fields are its own report.

    ``result`` has the plain form of the result (:mod:`hpcorch.model.values`). If that loses something,
    ``result_pickle`` (base64) or ``result_file`` (relative to the sweep directory) holds the object itself.
    """

    kind = "attempt-ended"
    outcome: str  # a word of AttemptOutcome
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
    log_end: int | None = None  # bytes in the log when its work ended; exit hooks may write more

    @property
    def ended_as(self) -> AttemptOutcome:
        """What ``outcome`` says; ``UNKNOWN`` if this version does not know the word."""
        return AttemptOutcome.of(self.outcome)
