"""Recording a user's script or command as a sweep, with everything that determines what it does.

Unlike a launch of Hydra's, this must work on compute nodes, which never open the ledger, and must be quick: the
sweep is recorded in a directory of its own, and announced to the ledger.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcorch.errors import RecordError, UnavailableError
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.inbox import announce
from hpcorch.journal.layout import SweepLayout, scripts_folder
from hpcorch.journal.manifest import ManifestBase, ManifestHeader, ManifestRun
from hpcorch.model.ids import format_ranges, new_sweep_id
from hpcorch.model.seeds import SeedSource, new_root_seed, run_seed
from hpcorch.model.states import Backend
from hpcorch.model.values import digest, patched
from hpcorch.services.recording.freeze import FrozenProgram, freeze_folder, run_key
from hpcorch.services.recording.sweep import (
    FrozenLaunch,
    NewSweep,
    create_sweep,
    record_launch,
    refusal,
    versions_of,
)

TASK = "task"  # the parameter in which the runs of an array differ


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedProgram:
    """What is recorded of a script or command.

    :param sweeper: which command of ours wraps it: ``sbatch`` or ``exec``
    :param config: what is executed, as plain data; runs of an array have their index beside it
    :param indices: the array indices, which become runs; None of what is no array
    :param folder: where the code is that it belongs to
    :param scripts: files that are code wherever they are, absolute
    :param cwd: its working directory
    :param environ: the environment that it gets
    :param options: what it asks of shared resources, as launcher keys
    :param leases: resources that it may lease -> directory, capacity, expiry in seconds
    """

    name: str
    sweeper: str
    backend: Backend
    config: Mapping[str, Any]
    folder: Path
    cwd: Path
    argv: Sequence[str]
    environ: Mapping[str, str]
    scripts: Sequence[Path] = ()
    indices: Sequence[int] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    leases: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    cluster: str | None = None
    slurm_release: str | None = None
    throttle_folder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSweep:
    """A sweep on disk: nothing is submitted or executed yet."""

    journal: ControlJournal
    header: ManifestHeader
    runs: Sequence[ManifestRun]
    frozen: FrozenProgram

    @property
    def sweep(self) -> str:
        """The sweep's id."""
        return self.journal.sweep

    @property
    def layout(self) -> SweepLayout:
        """The sweep directory."""
        return self.journal.layout


def record_program(ledger: Path, wrapped: WrappedProgram, *, directory: Path | None = None) -> RecordedSweep:
    """Freeze code and environment, and put the sweep with its runs on record.

    :param ledger: the ledger's file, which need not be there yet
    :param directory: of the sweep; by default a new one beside the ledger
    :raises RecordError: another sweep owns the directory; nothing was submitted or executed
    :raises UnavailableError: sweep or snapshot cannot be written; likewise
    """
    sweep = new_sweep_id()
    layout = SweepLayout(scripts_folder(ledger) / sweep if directory is None else directory)
    frozen = freeze_folder(
        wrapped.folder,
        ledger=ledger,
        variables=wrapped.environ,
        slurm_release=wrapped.slurm_release,
        scripts=wrapped.scripts,
    )
    root_seed = new_root_seed()
    runs = _runs(wrapped, root_seed, frozen.code.digest)
    header = _header(wrapped, sweep, ledger.parent.parent, layout, runs, frozen)
    try:
        journal = create_sweep(layout, _new_sweep(wrapped, header, root_seed))
    except RecordError as error:
        raise RecordError(_not_recorded(layout, "another sweep owns it")) from error
    except UnavailableError as error:
        raise UnavailableError(_not_recorded(layout, refusal(error))) from error
    record_launch(
        journal,
        FrozenLaunch(
            header=header,
            bases=[ManifestBase(base=0, config=dict(wrapped.config), pickle=b"")],
            runs=runs,
            task=None,
            options=wrapped.options,
            program=frozen,
        ),
    )
    _announce(ledger, sweep, layout)
    return RecordedSweep(journal=journal, header=header, runs=runs, frozen=frozen)


def _announce(ledger: Path, sweep: str, layout: SweepLayout) -> None:
    try:
        announce(ledger, sweep, layout)
    except OSError as error:
        raise UnavailableError(
            f"the sweep cannot be announced to the ledger {ledger} ({error.strerror}): see that the folder is yours"
            " and has space and inodes left; nothing was submitted or executed"
        ) from error


def _not_recorded(layout: SweepLayout, reason: str) -> str:
    return (
        f"nothing can be recorded in {layout.directory} ({reason}): check that the folder is yours and has space"
        " and inodes left; nothing was submitted or executed"
    )


def _runs(wrapped: WrappedProgram, root_seed: int, code: str) -> list[ManifestRun]:
    if wrapped.indices is None:
        return [_run(wrapped, None, root_seed, code)]
    return [_run(wrapped, index, root_seed, code) for index in wrapped.indices]


def _run(wrapped: WrappedProgram, index: int | None, root_seed: int, code: str) -> ManifestRun:
    params = {} if index is None else {TASK: index}
    config = patched(wrapped.config, params)
    config_digest = digest(json.dumps(config, sort_keys=True, default=str).encode())
    seed = run_seed({}, root_seed=root_seed, config_digest=config_digest, occurrence=0)
    return ManifestRun(
        run=index or 0,
        base=0,
        overrides=[],
        params=params,
        changes=params,
        config_digest=config_digest,
        seed=seed.value,
        seed_source=SeedSource.OFFERED.value,
        directory=str(wrapped.cwd),
        node={},
        key=run_key(config_digest=config_digest, code=code, seed=seed.value),
    )


def _header(
    wrapped: WrappedProgram,
    sweep: str,
    project: Path,
    layout: SweepLayout,
    runs: Sequence[ManifestRun],
    frozen: FrozenProgram,
) -> ManifestHeader:
    return ManifestHeader(
        sweep=sweep,
        launch=runs[0].run,
        count=len(runs),
        backend=wrapped.backend,
        job_name=wrapped.name,
        project=str(project),
        cwd=str(wrapped.cwd),
        python=sys.executable,
        task_digest="",
        leases=dict(wrapped.leases),
        throttle_folder=wrapped.throttle_folder,
        versions=versions_of("hpcorch"),
        code=frozen.snapshot,
        environment=frozen.record_place(layout, runs[0].run),
        indices=_gaps(wrapped.indices),
    )


def _gaps(indices: Sequence[int] | None) -> str | None:
    """The indices as the manifest has them, where they do not follow each other."""
    if indices is None or list(indices) == list(range(indices[0], indices[0] + len(indices))):
        return None
    return format_ranges(indices)


def _new_sweep(wrapped: WrappedProgram, header: ManifestHeader, root_seed: int) -> NewSweep:
    return NewSweep(
        id=header.sweep,
        name=wrapped.name,
        backend=wrapped.backend,
        project=Path(header.project),
        argv=wrapped.argv,
        root_seed=root_seed,
        cluster=wrapped.cluster,
        sweeper=wrapped.sweeper,
        versions=header.versions,
    )
