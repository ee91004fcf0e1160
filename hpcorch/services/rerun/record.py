"""Recording a rerun: a sweep with the frozen configuration of other runs, and the code as it is now."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hpcorch.errors import HpcorchError, RecordError, UnavailableError
from hpcorch.journal.archives import open_archive
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import ManifestHeader, ManifestRun
from hpcorch.journal.snapshots import to_text
from hpcorch.model.events import RerunPlanned
from hpcorch.model.ids import format_ranges, new_sweep_id
from hpcorch.model.keys.launch_keys import USUAL_DELAY_S
from hpcorch.model.states import Backend
from hpcorch.model.values import digest
from hpcorch.runtime.program.task_file import for_changed_code
from hpcorch.services.recording.freeze import FrozenProgram, freeze_again, run_key
from hpcorch.services.recording.sweep import (
    FrozenLaunch,
    NewSweep,
    create_sweep,
    record_launch,
    refusal,
    versions_of,
)
from hpcorch.services.rerun.plan import LaunchAgain, RerunPlan
from hpcorch.services.throttling.state import state_directory
from hpcorch.slurm.protocol import SlurmClient

TAG = "rerun"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenRerun:
    """A rerun with its code, which is frozen; nothing of the sweep is on disk yet.

    :param launches: what is recorded of each launch
    :param is_unchanged: the code is what it was
    """

    plan: RerunPlan
    sweep: str
    launches: Sequence[FrozenLaunch]
    is_unchanged: bool


def freeze_rerun(plan: RerunPlan, *, ledger: Path, client: SlurmClient) -> FrozenRerun:
    """Freeze the code as it is now.

    :param ledger: that takes the sweep
    :raises UsageError: the task function cannot be run as it is now
    :raises UnavailableError: the snapshot cannot be written
    """
    sweep = new_sweep_id()
    frozen = [_launch(plan, launch, sweep, ledger, client) for launch in plan.launches]
    digests = {one.program.code.digest for one in frozen if one.program is not None}
    return FrozenRerun(
        plan=plan,
        sweep=sweep,
        launches=frozen,
        is_unchanged=digests == {launch.code.digest for launch in plan.launches},
    )


def record_rerun(frozen: FrozenRerun, *, ledger: Path, client: SlurmClient) -> ControlJournal:
    """Write the new sweep.

    :raises RecordError: another process has just taken its directory
    :raises UnavailableError: that cannot be written
    """
    plan, made = frozen.plan, frozen.plan.sweep
    layout = SweepLayout(plan.directory)
    new = NewSweep(
        id=frozen.sweep,
        name=made.name,
        backend=made.backend,
        project=ledger.parent.parent,
        argv=["hpcorch", "rerun", f"{made.id}/{format_ranges(plan.runs)}", *_set(plan.changed)],
        root_seed=made.root_seed,
        cluster=client.config().cluster if made.backend is Backend.SLURM else None,
        sweeper=made.sweeper,
        tags=list(dict.fromkeys([*made.tags, TAG])),
        versions=_versions(),
    )
    try:
        journal = create_sweep(layout, new)
        journal.append(RerunPlanned(of=made.id, changed=list(plan.changed)))
    except RecordError as error:
        raise RecordError(_not_recorded(plan, "another process has just taken it")) from error
    except UnavailableError as error:
        raise UnavailableError(_not_recorded(plan, refusal(error))) from error
    except OSError as error:
        raise UnavailableError(_not_recorded(plan, error.strerror or str(error))) from error
    for launch in frozen.launches:
        record_launch(journal, launch)
    return journal


def _not_recorded(plan: RerunPlan, reason: str) -> str:
    return (
        f"the rerun cannot be recorded in {plan.directory} ({reason}): nothing was executed; see that you may write"
        " there and that space and inodes are left, and try again"
    )


def _set(changed: Sequence[str]) -> list[str]:
    return [word for text in changed for word in ("--set", text)]


def _versions() -> dict[str, str]:
    return versions_of("hpcorch", "hydra-core", "omegaconf", "submitit")


def _launch(plan: RerunPlan, launch: LaunchAgain, sweep: str, ledger: Path, client: SlurmClient) -> FrozenLaunch:
    is_slurm = plan.sweep.backend is Backend.SLURM
    program = freeze_again(
        launch.code,
        launch.archive,
        sys_path=launch.task.sys_path,
        ledger=ledger,
        keys=launch.keys,
        slurm_release=client.config().version if is_slurm else None,
    )
    task = for_changed_code(launch.task, _sources(launch, program))
    runs = [_run(one.run, plan.directory, program) for one in launch.runs]
    bases = {one.run.base: one.base for one in launch.runs}
    return FrozenLaunch(
        header=_header(plan, launch, sweep, program, digest(task), client),
        bases=[bases[number] for number in sorted(bases)],
        runs=runs,
        task=task,
        options=launch.keys.plain(),
        program=program,
    )


def _sources(launch: LaunchAgain, program: FrozenProgram) -> tuple[bytes, bytes] | None:
    """The main module as it was and as it is, if both snapshots have it."""
    if launch.task.invocation is None or not launch.task.invocation.drawn:
        return None
    file = os.path.realpath(launch.task.invocation.file)
    before = _content(launch.archive, launch.code.digest, launch.code.root, file)
    now = _content(program.code.archive, program.code.digest, str(program.code.root), file)
    return None if before is None or now is None else (before, now)


def _content(archive: Path, code: str, root: str, file: str) -> bytes | None:
    path = to_text(os.fsencode(os.path.relpath(file, os.path.realpath(root))))
    with suppress(HpcorchError):
        contents = open_archive(archive, code).contents()
        return next((content for entry, content in contents if entry.path == path), None)
    return None


def _run(run: ManifestRun, directory: Path, program: FrozenProgram) -> ManifestRun:
    """The run in its new place, under its old index."""
    subdir = str(run.run)
    fixed = {
        **run.node.get("frozen", {}),
        "hydra.sweep.dir": str(directory),
        "hydra.sweep.subdir": subdir,
        "hydra.job.num": run.run,
    }
    return replace(
        run,
        directory=str(directory / subdir),
        node={**run.node, "frozen": fixed},
        key=run_key(config_digest=run.config_digest, code=program.code.digest, seed=run.seed),
    )


def _header(
    plan: RerunPlan, launch: LaunchAgain, sweep: str, program: FrozenProgram, task: str, client: SlurmClient
) -> ManifestHeader:
    keys, indices, is_slurm = launch.keys, launch.indices, plan.sweep.backend is Backend.SLURM
    throttled = any(one.throttles for one in launch.asked.values())
    return replace(
        launch.header,
        sweep=sweep,
        launch=indices[0],
        count=len(indices),
        python=sys.executable,
        task_digest=task,
        max_num_timeout=keys.max_num_timeout,
        requeue_while_progress=keys.requeue_while_progress,
        signal_delay_s=keys.warned_s if is_slurm else USUAL_DELAY_S,
        throttle_folder=str(state_directory() / client.config().cluster) if is_slurm and throttled else None,
        versions=_versions(),
        code=program.snapshot,
        environment=program.record_place(SweepLayout(plan.directory), indices[0]),
        indices=None if indices == list(range(indices[0], indices[-1] + 1)) else format_ranges(indices),
    )
