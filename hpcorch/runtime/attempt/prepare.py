"""What every rank does before it calls the task: find the run, compare with what was frozen, enter Hydra."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcorch.errors import DriftError, RecordError
from hpcorch.journal.manifest import FrozenRun, read_run
from hpcorch.model.events import AttemptVerified, DriftFound, Fact
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.context.drift import DriftLog, Recorder
from hpcorch.runtime.context.output import say
from hpcorch.runtime.context.place import Place
from hpcorch.runtime.program.snapshot import Snapshot, have_snapshot
from hpcorch.runtime.program.task_function import Task, TaskFile, load_task, read_task

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from hpcorch.runtime.attempt.environment import ComparedEnvironment


def _nowhere(_fact: Fact) -> None:
    """Ranks other than 0 record nothing."""


@dataclass(slots=True, kw_only=True)
class Prepared:
    """A run ready to be called.

    :param config: the OmegaConf DictConfig that Hydra's ``run_job`` takes
    :param snapshot: the code that is imported, in use as long as this is kept; None if there is none
    :param environment: of this process; None if none was frozen
    """

    frozen: FrozenRun
    task: Task
    config: Any
    drift: DriftLog
    snapshot: Snapshot | None = None
    environment: ComparedEnvironment | None = None

    @property
    def verified(self) -> AttemptVerified:
        """What the run was compared with."""
        return AttemptVerified(
            config_digest=self.frozen.run.config_digest,
            task_digest=self.frozen.header.task_digest,
            code_digest=None if self.snapshot is None else self.snapshot.place.digest,
            main=self.task.main,
            main_problem=self.task.problem,
            fingerprint=None if self.environment is None else self.environment.fingerprint,
        )

    def explain(self, error: BaseException) -> None:
        """Say what is behind a file that is missing: one beside the code may have been left out of the snapshot."""
        name = getattr(error, "filename", None)
        if self.snapshot is None or not isinstance(error, FileNotFoundError) or not isinstance(name, str):
            return
        if Path(name).is_relative_to(self.snapshot.move.tree):
            say(
                f"{name} is not in the snapshot of the code that runs here: git ignores it, or it is data. Read it"
                " relative to the working directory, which is that of the launch, or by an absolute path"
            )

    def look(self, *, late: bool) -> None:
        """Put on record what was imported so far and is not as it was frozen.

        :param late: the task is over
        :raises DriftError: it is not over, and the policy is to refuse
        """
        if self.snapshot is not None:
            self.snapshot.look(late=late)
        if self.environment is not None:
            from hpcorch.runtime.attempt.environment import look_for_altered_files

            look_for_altered_files(self.drift, self.environment.installed, late=late)
        self.drift.settle()


def prepare(place: Place, record: Recorder = _nowhere) -> Prepared:
    """Load and verify all that a run needs.

    :param record: writes what is found into the attempt's journal
    :raises DriftError: the manifest, the task or the configuration is not what was submitted
    """
    frozen = _recorded(record, "configuration", "manifest", lambda: _read_frozen(place))
    header = frozen.header
    # Exported before the user's modules are imported: they may read the seed at import time.
    os.environ.update(run_variables(frozen, place))
    os.chdir(header.cwd)
    task_file = _recorded(
        record, "code", "task file", lambda: read_task(place.layout.task(place.launch), header.task_digest)
    )
    drift = DriftLog(policies=header.drift, record=record)
    snapshot = None if header.code is None else have_snapshot(header.code, drift, os.environ)
    environment = _compared_environment(frozen, place, drift, task_file)
    task = load_task(task_file, snapshot)
    # Hydra is imported only now: a refused or skipped attempt does not pay for it.
    from hpcorch.runtime.program.call import enter_hydra, without_files
    from hpcorch.runtime.run.resolver import register_resolver

    enter_hydra(task)
    register_resolver()
    config = _config(frozen, place, drift)
    if header.compact or place.rank != 0:
        without_files(config)
    prepared = Prepared(
        frozen=frozen, task=task, config=config, drift=drift, snapshot=snapshot, environment=environment
    )
    prepared.look(late=False)
    return prepared


def _recorded(record: Recorder, aspect: str, what: str, read: Callable[[], Any]) -> Any:
    """What ``read`` returns; that it finds drift is put on record."""
    try:
        return read()
    except DriftError as error:
        record(
            DriftFound(
                aspect=aspect, severity="major", what=what, before="as frozen", after=str(error), policy="refuse"
            )
        )
        raise


def _compared_environment(
    frozen: FrozenRun, place: Place, drift: DriftLog, task: TaskFile
) -> ComparedEnvironment | None:
    if frozen.header.environment is None:
        return None
    from hpcorch.runtime.attempt.environment import compare_environment

    compared = compare_environment(frozen.header.environment, place, drift, task.sys_path)
    drift.settle()
    return compared


def _config(frozen: FrozenRun, place: Place, drift: DriftLog) -> DictConfig:
    from hpcorch.runtime.program.call import config_digest, differing, rebuilt

    config = rebuilt(frozen, job_id=place.hydra_job_id)
    found = config_digest(config)
    if found != frozen.run.config_digest:
        drift.found(
            "configuration",
            "composed configuration",
            before=frozen.run.config_digest,
            after=found,
            sentence=differing(frozen, found),
        )
        drift.settle()
    return config


def run_variables(frozen: FrozenRun, place: Place) -> dict[str, str]:
    """What a run's process finds in its environment, for code that imports nothing of ours."""
    checkpoints = Path(frozen.run.directory) / "checkpoints"
    return {
        "HPCORCH_SWEEP": frozen.header.sweep,
        "HPCORCH_RUN": f"{frozen.header.sweep}/{frozen.run.run}",
        "HPCORCH_ATTEMPT": str(place.attempt),
        "HPCORCH_SEED": str(frozen.run.seed),
        "HPCORCH_RUN_DIR": frozen.run.directory,
        "HPCORCH_CHECKPOINT_DIR": str(checkpoints),
        "HPCORCH_RESUME": str(newest_entry(checkpoints) or ""),
    }


def newest_entry(directory: Path) -> Path | None:
    """The file or directory that was written last, by whatever framework; None if there is none.

    Names that begin with a dot or end in ``.tmp`` or ``.part`` are not finished.
    """
    try:
        entries = [entry for entry in directory.iterdir() if not _is_unfinished(entry.name)]
        return max(entries, key=lambda entry: entry.stat().st_mtime_ns, default=None)
    except OSError:
        return None


def _is_unfinished(name: str) -> bool:
    return name.startswith(".") or name.endswith((".tmp", ".part"))


def _read_frozen(place: Place) -> FrozenRun:
    path = place.layout.manifest(place.launch)
    try:
        return read_run(path, place.attempt.run)
    except RecordError as error:
        raise DriftError(str(error)) from error
    except FileNotFoundError as error:
        raise DriftError(f"the manifest {path} is gone: was the sweep directory moved or deleted?") from error
