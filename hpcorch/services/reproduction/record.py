"""Recording a repetition: a sweep of one run, with what was frozen of the original."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hpcorch.errors import RecordError, UnavailableError
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.files import write_whole
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import ManifestHeader, RecordPlace, SnapshotPlace
from hpcorch.journal.reader import read_segment
from hpcorch.model.drift import Aspect, Policy
from hpcorch.model.events import CONTROL_SOURCE, EnvironmentFrozen, RunReproduced, SweepCreated
from hpcorch.model.ids import new_sweep_id
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.states import Backend
from hpcorch.runtime.attempt.environment import environment_file
from hpcorch.services.recording.sweep import (
    FrozenLaunch,
    NewSweep,
    create_sweep,
    record_environment,
    record_launch,
    refusal,
)
from hpcorch.services.reproduction.original import Original
from hpcorch.services.throttling.state import state_directory
from hpcorch.slurm.protocol import SlurmClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be recorded.

    :param keys: the launcher's keys of the repetition
    :param ledger: that takes the sweep
    :param client: of the cluster that executes it; None for this machine
    """

    original: Original
    layout: SweepLayout
    keys: LaunchKeys
    ledger: Path
    client: SlurmClient | None

    @property
    def backend(self) -> Backend:
        """What executes it."""
        return Backend.LOCAL if self.client is None else Backend.SLURM


def find_repetition(layout: SweepLayout, of: str) -> SweepCreated | None:
    """The sweep in a directory that repeats a run; None if no sweep is there.

    :param of: SWEEP/INDEX of the run
    :raises RecordError: the sweep there is something else, or its making was cut short
    :raises OSError: the directory cannot be read
    """
    try:
        events = read_segment(layout.control, sweep="", source=CONTROL_SOURCE, offset=0).events
    except (FileNotFoundError, NotADirectoryError):
        return None
    facts = [event.fact for event in events]
    created = next((fact for fact in facts if isinstance(fact, SweepCreated)), None)
    repeated = [fact.of for fact in facts if isinstance(fact, RunReproduced)]
    if created is not None and repeated == [of]:
        return created
    if repeated:
        raise RecordError(
            f"{layout.directory} holds a repetition of {repeated[0]}, and not of {of}: name another directory, or"
            f" {repeated[0]} to compare that one again"
        )
    if created is None or created.argv[:2] == _argv(of)[:2]:
        raise RecordError(
            f"a repetition was begun in {layout.directory} and is not on record as a whole: unless another process"
            " makes it at this moment, nothing of it ever ran; remove the directory, or name another"
        )
    raise RecordError(f"{layout.directory} belongs to sweep {created.sweep}: name another directory")


def record_repetition(plan: Plan, environ: Mapping[str, str]) -> ControlJournal:
    """Write the new sweep with its one run, and what it repeats.

    :param environ: that its jobs get
    :raises RecordError: another sweep owns the directory
    :raises UnavailableError: it cannot be written
    """
    try:
        journal = create_sweep(plan.layout, _new_sweep(plan))
    except RecordError as error:
        reason = "another process has just taken it, and the same command again goes on with what that began"
        raise RecordError(_not_made(plan, reason)) from error
    except UnavailableError as error:
        raise UnavailableError(_not_made(plan, refusal(error))) from error
    try:
        _record_run(plan, journal, environ)
    except OSError as error:
        raise UnavailableError(
            f"the repetition cannot be recorded in {plan.layout.state} ({error.strerror}): nothing was executed;"
            " free space or inodes there, remove the directory and try again"
        ) from error
    return journal


def _not_made(plan: Plan, reason: str) -> str:
    return f"the repetition cannot be made in {plan.layout.directory} ({reason}); otherwise name another directory"


def _argv(of: str) -> list[str]:
    return ["hpcorch", "reproduce", of]


def _new_sweep(plan: Plan) -> NewSweep:
    made = plan.original.evidence.sweep
    return NewSweep(
        id=new_sweep_id(),
        name=made.name,
        backend=plan.backend,
        project=plan.ledger.parent.parent,
        argv=_argv(plan.original.name),
        root_seed=made.root_seed,
        cluster=None if plan.client is None else plan.client.config().cluster,
        sweeper=made.sweeper,
        tags=["reproduction"],
        versions=made.versions,
    )


def _record_run(plan: Plan, journal: ControlJournal, environ: Mapping[str, str]) -> None:
    original, layout = plan.original, plan.layout
    assert original.evidence.place is not None
    archive = original.evidence.place.archive(original.code)
    frozen = original.evidence.environment(original.run)
    journal.append(replace(original.code, launch=0, archive=str(archive), diff=None, diff_digest=None))
    if frozen is not None:
        file = layout.relative(environment_file(layout.launch(0)))
        journal.append(EnvironmentFrozen(launch=0, file=file, digest=frozen.digest, fingerprint=frozen.fingerprint))
    if plan.client is not None:
        record_environment(layout, environ)
    record_launch(journal, _launch(plan, journal.sweep, archive))
    if frozen is not None:
        with original.evidence.place.open(frozen.file) as source:
            write_whole(environment_file(layout.launch(0)), source.read())
    # Last, because it marks the record as complete: a later command continues from there.
    journal.append(RunReproduced(run=0, of=original.name, key=original.run.key or None), durable=True)


def _launch(plan: Plan, sweep: str, archive: Path) -> FrozenLaunch:
    original, layout = plan.original, plan.layout
    assert original.evidence.place is not None
    run = original.frozen.run
    subdir = "0"
    fixed = {
        **run.node.get("frozen", {}),
        "hydra.sweep.dir": str(layout.directory),
        "hydra.sweep.subdir": subdir,
        "hydra.job.num": run.run,
    }
    again = replace(
        run, run=0, directory=str(layout.directory / subdir), node={**run.node, "frozen": fixed}, launcher={}
    )
    with original.evidence.place.open(original.evidence.place.layout.task(original.run.launch)) as file:
        task = file.read()
    return FrozenLaunch(
        header=_header(plan, sweep, archive),
        bases=[original.frozen.base],
        runs=[again],
        task=task,
        options=plan.keys.plain(),
    )


def _header(plan: Plan, sweep: str, archive: Path) -> ManifestHeader:
    original, layout, client = plan.original, plan.layout, plan.client
    header = original.frozen.header
    before = header.environment
    throttled = client is not None and plan.keys.throttles
    header = replace(
        header,
        sweep=sweep,
        launch=0,
        count=1,
        backend=plan.backend,
        # Relative paths of data lead where they led, if that is here.
        cwd=header.cwd if original.has_folder else str(layout.directory),
        python=sys.executable,
        throttle_folder=str(state_directory() / client.config().cluster) if client and throttled else None,
        code=SnapshotPlace(
            digest=original.code.digest,
            archive=str(archive),
            root=original.code.root,
            is_whole=header.code is None or header.code.is_whole,
        ),
        environment=None
        if before is None
        else RecordPlace(
            file=layout.relative(environment_file(layout.launch(0))),
            digest=before.digest,
            fingerprint=before.fingerprint,
            apart=before.apart,
        ),
        drift={
            **header.drift,
            Aspect.ENVIRONMENT.value: Policy.RECORD.value,
            Aspect.INPUTS.value: Policy.WARN.value,
        },
    )
    if client is None:
        return header
    return replace(header, signal_delay_s=plan.keys.warned_s, kill_wait_s=client.config().kill_wait_s)
