"""What is planned and frozen before anything is submitted."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from hpcorch.model.events.base import Fact
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepCreated(Fact):
    """A sweep exists. Written once, first, by the launcher."""

    kind = "sweep-created"
    sweep: str  # its id: a sweep directory names its own sweep
    name: str
    backend: str  # a word of Backend
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
    argv: list[str] | None = None  # of `hpcorch extend`; None of a launch by the command that began the sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class BasePlanned(Fact):
    """A composed task configuration that several runs of a launch start from."""

    kind = "base-planned"
    base: int  # number within its launch
    config: dict[str, Any]  # its plain form (hpcorch.model.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlanned(Fact):
    """A run exists, and everything that determines it is frozen."""

    kind = "run-planned"
    run: int
    base: int
    overrides: list[str]
    params: dict[str, Any]  # swept key -> plain value (hpcorch.model.values)
    changes: dict[str, Any]  # dotted path -> plain value: the task configuration is the base with these applied
    config_digest: str
    seed: int
    seed_source: str  # a word of SeedSource
    directory: str  # absolute path of the run's output directory
    launcher: dict[str, Any] | None = None  # launcher keys of its own
    key: str | None = None  # digest of what determines the result: task configuration, code, seed


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFrozen(Fact):
    """The code of a launch is a snapshot, and every attempt runs from it.

    If git could not tell of the checkout, ``problem`` says why, and ``commit`` and the like are None.
    """

    kind = "code-frozen"
    launch: int
    digest: str  # SHA-256 in hexadecimal of the listing of the code state; names the snapshot
    archive: str  # absolute path of the snapshot
    root: str  # absolute path of the folder that the snapshot stands for
    files: int
    size: int  # bytes of all files
    left: list[list[str]] = field(default_factory=list)  # [path below the root, why it is not in the snapshot]
    left_count: int = 0  # how many were left out; the list above has only the first few hundred
    commit: str | None = None
    branch: str | None = None
    remote: str | None = None  # URL without credentials
    dirty: bool | None = None  # whether tracked files differ from the commit
    diff: str | None = None  # path relative to the sweep directory, as `git apply` takes it
    diff_digest: str | None = None  # sha256:<hexadecimal> of that file
    problem: str | None = None

    @property
    def lacks_commit(self) -> str:
        """Why there is no commit; of use where there is none."""
        return self.problem or ("not committed yet" if self.branch else "not in a git checkout")


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
    """A run is not executed, because a run with the same key has completed: it takes over that run's result.

    The result is copied, so that this sweep is self-contained; the fields are those of :class:`AttemptEnded`.
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
    """A run of this sweep repeats another run, with its code, configuration and seed, to compare the results."""

    kind = "run-reproduced"
    run: int
    of: str  # SWEEP/INDEX of the run that it repeats
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunPlanned(Fact):
    """Each run of this sweep executes the run of its index in another sweep again, with the code as it is now.

    Configuration and seed are the other run's, but for the overrides that were changed.
    """

    kind = "rerun-planned"
    of: str  # the other sweep's id
    changed: list[str] = field(default_factory=list)  # overrides as they are typed, launcher keys included


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedingPlanned(Fact):
    """Slurm does not accept all runs of a launch at once. Later commands and jobs submit the others."""

    kind = "feeding-planned"
    launch: int
    max_submit: int | None = None  # jobs that the user may have in Slurm's queue, if known
