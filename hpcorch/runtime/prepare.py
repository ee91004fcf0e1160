"""What every rank does before it calls the task: find the run, compare with what was frozen, enter Hydra."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcorch.errors import DriftError, RecordError
from hpcorch.journal.manifest import FrozenRun, read_run
from hpcorch.runtime.place import Place
from hpcorch.runtime.task import Task, load_task


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run ready to be called. ``config`` is the OmegaConf DictConfig that Hydra's ``run_job`` takes."""

    frozen: FrozenRun
    task: Task
    config: Any


def prepare(place: Place) -> Prepared:
    """Load and verify all that a run needs.

    :raises DriftError: the manifest, the task or the configuration is not what was submitted
    """
    frozen = _read_frozen(place)
    # Exported before the user's modules are imported: they may read the seed at import time.
    os.environ.update(run_variables(frozen, place))
    os.chdir(frozen.header.cwd)
    task = load_task(place.layout.task(place.batch), frozen.header.task_digest)
    # Hydra is imported only now: a refused or skipped attempt does not pay for it.
    from hpcorch.runtime.call import enter_hydra, frozen_config, without_files

    enter_hydra(task)
    config = frozen_config(frozen, job_id=place.hydra_job_id)
    if frozen.header.compact or place.rank != 0:
        without_files(config)
    return Prepared(frozen=frozen, task=task, config=config)


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
    path = place.layout.manifest(place.batch)
    try:
        return read_run(path, place.attempt.run)
    except RecordError as error:
        raise DriftError(str(error)) from error
    except FileNotFoundError as error:
        raise DriftError(f"the manifest {path} is gone: was the sweep directory moved or deleted?") from error
