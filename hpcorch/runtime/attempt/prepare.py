"""What every rank does before it calls the task: find the run, compare with what was frozen, enter Hydra."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcorch.errors import DriftError
from hpcorch.journal.manifest import FrozenRun, ManifestHeader
from hpcorch.model.drift import Aspect
from hpcorch.model.events import AttemptVerified
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.attempt.lifecycle import refusal
from hpcorch.runtime.context.drift import DriftLog, Recorder
from hpcorch.runtime.context.output import say
from hpcorch.runtime.context.place import Place
from hpcorch.runtime.program.snapshot import Snapshot, have_snapshot
from hpcorch.runtime.program.task_function import Task, TaskFile, load_task, read_task

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from hpcorch.runtime.attempt.environment import ComparedEnvironment


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
        """Explain a missing file: one beside the code may have been left out of the snapshot."""
        name = getattr(error, "filename", None)
        if self.snapshot is None or not isinstance(error, FileNotFoundError) or not isinstance(name, str):
            return
        if Path(name).is_relative_to(self.snapshot.move.tree):
            say(
                f"{name} is not in the snapshot of the code that runs here: git ignores it, or it is data. Read it"
                " relative to the working directory, which is that of the launch, or by an absolute path"
            )

    def look(self, *, late: bool) -> None:
        """Record which modules imported so far differ from what was frozen.

        :param late: the task is over
        :raises DriftError: it is not over, and the policy is to refuse
        """
        if self.snapshot is not None:
            self.snapshot.look(late=late)
        if self.environment is not None:
            from hpcorch.runtime.attempt.environment import look_for_altered_files

            look_for_altered_files(self.drift, self.environment.installed, late=late)
        self.drift.settle()


def prepare(place: Place, frozen: FrozenRun, environ: Mapping[str, str], record: Recorder) -> Prepared:
    """Load and verify all that a run needs.

    :param environ: the variables that the run is offered
    :param record: writes what is found into the attempt's journal
    :raises DriftError: the task, its code or its configuration is not what was submitted
    """
    header = frozen.header
    # Exported before the user's modules are imported: they may read the seed at import time.
    os.environ.update(environ)
    os.chdir(header.cwd)
    task_file = _task_file(place, header, record)
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


def _task_file(place: Place, header: ManifestHeader, record: Recorder) -> TaskFile:
    try:
        return read_task(place.layout.task(place.launch), header.task_digest)
    except DriftError as error:
        record(refusal(Aspect.CODE, "task file", error))
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
            Aspect.CONFIGURATION,
            "composed configuration",
            before=frozen.run.config_digest,
            after=found,
            sentence=differing(frozen, found),
        )
        drift.settle()
    return config
