"""Recording a sweep and its launches on disk, before anything is submitted."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hpcorch.errors import RecordError, UnavailableError
from hpcorch.journal.access import PRIVATE, access_in, make_record_folder
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.files import is_there, read_regular, sync_directory, write_whole
from hpcorch.journal.layout import STATE_DIR, SweepLayout
from hpcorch.journal.manifest import ManifestBase, ManifestHeader, ManifestRun
from hpcorch.journal.manifest_file import write_manifest
from hpcorch.journal.reader import read_segment
from hpcorch.journal.sweep_folder import take
from hpcorch.model.events import CONTROL_SOURCE, Fact, LaunchPlanned, RunReused, SweepCreated
from hpcorch.model.states import Backend
from hpcorch.provenance.secrets import secret_variable
from hpcorch.services.recording.freeze import FrozenProgram, record_frozen
from hpcorch.users import own_name

_log = logging.getLogger(__name__)
# Of the login session alone: another one's are as good, and none are, too.
_OF_A_SESSION = frozenset({"SSH_AUTH_SOCK", "XAUTHORITY", "KRB5CCNAME"})


def record_environment(layout: SweepLayout, environ: Mapping[str, str]) -> None:
    """Write down the environment of a sweep's first launch, for its owner alone. Later launches change nothing.

    Of variables that look like secrets only the names are written. Jobs that are submitted now get them from this
    process, as with plain sbatch; what is submitted later gets them from who submits it.

    :raises OSError: it cannot be written
    """
    if not layout.environment.exists():
        told = {name: None if secret_variable(name, value) else value for name, value in environ.items()}
        # Bytes that are no text survive: JSON writes their surrogates as escapes.
        content = json.dumps(told, sort_keys=True).encode("ascii")
        write_whole(layout.environment, content, access=PRIVATE)


def recorded_environment(layout: SweepLayout) -> dict[str, str]:
    """The environment of the sweep's first launch; variables that look like secrets are this process's.

    :raises RecordError: it is not there, or is damaged
    """
    try:
        found = json.loads(read_regular(layout.environment, own=True))
        secrets = {name for name, value in found.items() if value is None}
        own = {name: os.environ[name] for name in secrets & os.environ.keys()}
        if missing := sorted(secrets - own.keys() - _OF_A_SESSION):
            _log.warning(
                "%s: what is submitted now has not the variables %s of the launch, which look like secrets and are"
                " not recorded: set them, or leave that to the sweep's keeper",
                layout.directory,
                ", ".join(missing),
            )
        return {str(name): str(value) for name, value in found.items() if value is not None} | own
    except (OSError, ValueError, AttributeError) as error:
        raise RecordError(
            f"the environment of the launch cannot be read from {layout.environment} ({error}): without it nothing"
            " is submitted by itself; `hpcorch retry` uses your shell's"
        ) from error


def forget_environment(layout: SweepLayout) -> None:
    """Remove the environment that was written down: nothing will be submitted with it.

    :raises OSError: it cannot be removed
    """
    layout.environment.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSweep:
    """What its maker knows of a sweep that is to be recorded; who and where the maker is goes without saying.

    :param project: the folder that holds ``.hpcorch``
    :param sweeper: what makes its launches
    :param versions: of Python and of installed packages, as :func:`versions_of` tells them
    """

    id: str
    name: str
    backend: Backend
    project: Path
    argv: Sequence[str]
    root_seed: int
    sweeper: str
    cluster: str | None = None
    tags: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenLaunch:
    """Everything frozen about one launch.

    :param task: content of the task file, whose digest the header has; None of what calls no Python function
    :param options: the launcher's keys as given, for the record
    :param program: code and environment; None for what is only shown
    :param argv: the command line, if it is not the one that began the sweep
    """

    header: ManifestHeader
    bases: Sequence[ManifestBase]
    runs: Sequence[ManifestRun]
    task: bytes | None
    options: Mapping[str, Any]
    program: FrozenProgram | None = None
    argv: Sequence[str] | None = None


def versions_of(*packages: str) -> dict[str, str]:
    """The version of Python and of these installed packages."""
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def create_sweep(layout: SweepLayout, new: NewSweep) -> ControlJournal:
    """Take a sweep directory and write the sweep's first fact; the control journal that it begins.

    :raises RecordError: another sweep owns the directory
    :raises UnavailableError: it cannot be written
    """
    journal = ControlJournal(layout, new.id)
    try:
        access = access_in(new.project / STATE_DIR)
        take(layout, project=new.project, access=access)
        journal.append(_created(layout, new), durable=True)
    except OSError as error:
        if isinstance(error, FileExistsError) and layout.directory.is_dir():  # and no file in a folder's place
            raise owned(layout) from None
        raise UnavailableError(
            f"the sweep directory {layout.directory} cannot be written ({error.strerror}): choose another"
            " hydra.sweep.dir, on a file system that the compute nodes share and that has space and inodes left"
        ) from error
    return journal


def refusal(error: UnavailableError) -> str:
    """Why :func:`create_sweep` could not write, as a clause."""
    cause = error.__cause__
    return cause.strerror or str(cause) if isinstance(cause, OSError) else str(error)


def _created(layout: SweepLayout, new: NewSweep) -> SweepCreated:
    return SweepCreated(
        sweep=new.id,
        name=new.name,
        backend=new.backend.value,
        directory=str(layout.directory),
        project=str(new.project),
        user=own_name(),
        host=socket.gethostname(),
        cwd=str(Path.cwd()),
        argv=[os.fsdecode(word) for word in new.argv],
        root_seed=new.root_seed,
        cluster=new.cluster,
        sweeper=new.sweeper,
        tags=list(new.tags),
        python=sys.executable,
        versions=dict(new.versions),
    )


def owned(layout: SweepLayout) -> RecordError:
    """That another sweep has the directory."""
    return RecordError(
        f"the sweep directory {layout.directory} already belongs to another sweep, whose record and results would"
        " be mixed with the new ones: choose another hydra.sweep.dir, or set hydra.launcher.reuse_sweep_dir=true to"
        " set the old record aside and write over its results"
    )


def record_launch(journal: ControlJournal, frozen: FrozenLaunch, reused: Sequence[RunReused] = ()) -> None:
    """Write manifest and task file of a launch and make them known in the control journal.

    The folder of a launch is there as a whole or not at all, and what somebody left who was stopped is removed.

    :param reused: runs that are not to be executed
    :raises UnavailableError: the sweep directory cannot be written, or another process has made such a launch
    """
    layout, first = journal.layout, frozen.header.launch
    try:
        # Under the lock all the time: who has seen the launches before over would remove this one's environment.
        with journal.locked():
            _clear(journal, first)
            fresh = layout.state / f".{layout.launch(first).name}.{os.urandom(4).hex()}"
            try:
                facts = _write_launch(layout, frozen, fresh)
                journal.confirm()
                fresh.rename(layout.launch(first))
            except OSError:
                journal.confirm()
                raise
            sync_directory(layout.state)
            if frozen.header.backend is Backend.SLURM:
                record_environment(layout, os.environ)
            journal.append(*facts[:-1], *reused, facts[-1], durable=True)
    except OSError as error:
        raise UnavailableError(
            f"the launch of {frozen.header.called} cannot be recorded in {layout.state} ({error.strerror}): free"
            " space or inodes there; nothing was submitted"
        ) from error


def _write_launch(layout: SweepLayout, frozen: FrozenLaunch, folder: Path) -> list[Fact]:
    """Write the files of a launch into a new folder; the facts about it."""
    first = frozen.header.launch
    manifest = layout.manifest(first)
    make_record_folder(folder, exist_ok=False)
    if frozen.task is not None:
        write_whole(folder / layout.task(first).name, frozen.task)
    facts: list[Fact] = []
    if frozen.program is not None:
        facts += record_frozen(frozen.program, layout, first, folder)
    manifest_digest = write_manifest(folder / manifest.name, frozen.header, frozen.bases, frozen.runs)
    planned = LaunchPlanned(
        first_run=first,
        count=frozen.header.count,
        manifest=layout.relative(manifest),
        manifest_digest=manifest_digest,
        task_digest=frozen.header.task_digest,
        options=dict(frozen.options),
        argv=None if frozen.argv is None else [os.fsdecode(word) for word in frozen.argv],
    )
    return [*facts, planned]


def _clear(journal: ControlJournal, first: int) -> None:
    """Remove what was left of a launch that is not on record. Within the lock.

    :raises UnavailableError: such a launch is on record
    """
    layout = journal.layout
    for left in layout.state.glob(f".{layout.launch(first).name}.*"):
        shutil.rmtree(left)
    if not is_there(layout.launch(first)):
        return
    events = read_segment(layout.control, sweep=journal.sweep, source=CONTROL_SOURCE, offset=0).events
    if any(isinstance(event.fact, LaunchPlanned) and event.fact.first_run == first for event in events):
        raise UnavailableError(
            f"another process has added runs to sweep {journal.sweep} meanwhile: none was added here, try again"
        )
    shutil.rmtree(layout.launch(first))
