"""Recording a sweep and its launches on disk, before anything is submitted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcorch.errors import RecordError
from hpcorch.journal.control import control_journal
from hpcorch.journal.files import write_whole
from hpcorch.journal.layout import DIR_MODE, SweepLayout
from hpcorch.journal.manifest import ManifestBase, ManifestHeader, ManifestRun, write_manifest
from hpcorch.model.events import LaunchPlanned, RunReused, SweepCreated
from hpcorch.services.recording.environment import record_environment
from hpcorch.services.recording.freeze import FrozenProgram, record_frozen


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenLaunch:
    """Everything frozen about one launch.

    :param task: content of the task file, whose digest the header has; None of what calls no Python function
    :param options: the launcher's keys as given, for the record
    :param program: code and environment; None for what is only shown
    """

    header: ManifestHeader
    bases: Sequence[ManifestBase]
    runs: Sequence[ManifestRun]
    task: bytes | None
    options: Mapping[str, Any]
    program: FrozenProgram | None = None


def create_sweep(layout: SweepLayout, created: SweepCreated) -> None:
    """Take a sweep directory and write the sweep's first fact.

    :raises RecordError: another sweep owns the directory, or it cannot be written
    """
    try:
        layout.create()
        with control_journal(layout) as control:
            control.append(created, durable=True)
    except FileExistsError:
        raise owned(layout) from None
    except OSError as error:
        raise RecordError(
            f"the sweep directory {layout.directory} cannot be written ({error.strerror}): choose another"
            " hydra.sweep.dir, on a file system that the compute nodes share and that has space and inodes left"
        ) from error


def owned(layout: SweepLayout) -> RecordError:
    """That another sweep has the directory."""
    return RecordError(
        f"the sweep directory {layout.directory} already belongs to another sweep, whose record and results would"
        " be mixed with the new ones: choose another hydra.sweep.dir, or set hydra.launcher.reuse_sweep_dir=true to"
        " set the old record aside and write over its results"
    )


def record_launch(layout: SweepLayout, frozen: FrozenLaunch, reused: Sequence[RunReused] = ()) -> None:
    """Write manifest and task file of a launch and make them known in the control journal.

    :param reused: runs that are not to be executed
    :raises RecordError: the sweep directory cannot be written
    """
    first = frozen.header.launch
    manifest: Path = layout.manifest(first)
    try:
        layout.launch(first).mkdir(mode=DIR_MODE)
        if frozen.task is not None:
            write_whole(layout.task(first), frozen.task)
        facts = [] if frozen.program is None else record_frozen(frozen.program, layout, first)
        manifest_digest = write_manifest(manifest, frozen.header, frozen.bases, frozen.runs)
        if frozen.header.backend == "slurm":
            record_environment(layout, os.environ)
        with control_journal(layout) as control:
            for fact in (*facts, *reused):
                control.append(fact)
            control.append(
                LaunchPlanned(
                    first_run=first,
                    count=frozen.header.count,
                    manifest=layout.relative(manifest),
                    manifest_digest=manifest_digest,
                    task_digest=frozen.header.task_digest,
                    options=dict(frozen.options),
                ),
                durable=True,
            )
    except OSError as error:
        raise RecordError(
            f"the launch of {frozen.header.called} cannot be recorded in {layout.state} ({error.strerror}): free"
            " space or inodes there; nothing was submitted"
        ) from error
