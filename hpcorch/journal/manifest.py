"""The manifest of a launch: everything frozen about its runs, in one immutable file.

What it says is here; how it lies in the file, in :mod:`hpcorch.journal.manifest_file`. Its digest is in the control
journal.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import Any, Final

from hpcorch.model.ids import parse_ranges
from hpcorch.model.states import Backend
from hpcorch.quick_dataclasses import dataclass

FORMAT: Final = "hpcorch-manifest"
VERSION: Final = 1
# What a run may have of its own of the header's: keys of the launcher.
_OWN: Final[tuple[str, ...]] = ("compact", "drift", "max_num_timeout", "requeue_while_progress")


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPlace:
    """Where the code of a launch is.

    :param digest: of the code state, SHA-256 in hexadecimal
    :param archive: absolute path of the snapshot
    :param root: absolute path of the folder that it stands for
    :param is_whole: whether all code in that folder belongs to it; if not, other modules from there refuse no run
    """

    digest: str
    archive: str
    root: str
    is_whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPlace:
    """Where the record of the environment at submission is.

    :param file: path relative to the sweep directory
    :param digest: of the file
    :param fingerprint: of the environment (:func:`hpcorch.provenance.environment.record.fingerprint`)
    :param apart: sections of the record that the job's own set-up changes, as it was asked to: no drift
    """

    file: str
    digest: str
    fingerprint: str
    apart: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestHeader:
    """What all runs of a launch share, unless one has its own (:meth:`of`).

    :param max_num_timeout: a run that reaches its time limit is requeued at most so often
    :param requeue_while_progress: and beyond that as long as each attempt has saved a later checkpoint
    :param signal_delay_s: seconds from the warning to the time limit
    :param kill_wait_s: seconds that a process has after SIGTERM, at least
    :param leases: resources that tasks may lease -> directory, capacity, expiry in seconds
    :param throttle_folder: where the user's throttled arrays are on record; None if no run of the launch is in one
    :param code: the snapshot that runs import from; None if there is none
    :param environment: the record that attempts are compared with; None if there is none
    :param drift: aspect (code, configuration, environment, inputs) -> refuse, warn or record
    :param indices: run indices, where they do not follow each other: "1,3,5-9"
    """

    sweep: str
    launch: int
    count: int
    backend: Backend
    job_name: str
    project: str
    cwd: str
    python: str
    task_digest: str
    compact: bool = False
    max_num_timeout: int = 0
    requeue_while_progress: bool = False
    signal_delay_s: int = 0
    kill_wait_s: int = 30
    leases: dict[str, dict[str, Any]] = field(default_factory=dict)
    throttle_folder: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    code: SnapshotPlace | None = None
    environment: RecordPlace | None = None
    drift: dict[str, str] = field(default_factory=dict)
    indices: str | None = None

    @property
    def called(self) -> str:
        """The runs, as a sentence has them."""
        if self.indices is not None:
            return f"runs {self.indices}"
        return f"runs {self.launch} to {self.launch + self.count - 1}" if self.count > 1 else f"run {self.launch}"

    def of(self, run: ManifestRun) -> ManifestHeader:
        """The header as it is for one run, whose own keys of the launcher win."""
        own = {name: run.launcher[name] for name in _OWN if name in run.launcher}
        if "resources" in run.launcher:
            counts = run.launcher["resources"]
            own["leases"] = {name: {**one, "count": counts.get(name, 1)} for name, one in self.leases.items()}
        return replace(self, **own) if own else self

    def position(self, run: int) -> int:
        """Where a run stands in the manifest.

        :raises ValueError: it is not in there
        """
        runs = range(self.launch, self.launch + self.count) if self.indices is None else parse_ranges(self.indices)
        return runs.index(run)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestBase:
    """A composed configuration that runs start from: the object for the node, the plain form for the record."""

    base: int
    config: dict[str, Any]
    pickle: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRun:
    """One run, frozen.

    :param node: what :mod:`hpcorch.runtime.program.configuration` needs to rebuild the run's configuration
    :param launcher: keys of the launcher that are this run's own
    :param key: digest of what determines the result; empty where no code was frozen
    """

    run: int
    base: int
    overrides: list[str]
    params: dict[str, Any]
    changes: dict[str, Any]
    config_digest: str
    seed: int
    seed_source: str
    directory: str
    node: dict[str, Any]
    launcher: dict[str, Any] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenRun:
    """A run with the header and the base that belong to it: all that a node needs."""

    header: ManifestHeader
    base: ManifestBase
    run: ManifestRun
