"""Freezing code and environment at submission, and putting them on record with a launch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcorch.errors import HpcorchError, NotFoundError
from hpcorch.journal.archives import open_archive
from hpcorch.journal.files import write_whole
from hpcorch.journal.layout import STATE_DIR, SweepLayout, snapshots_folder
from hpcorch.journal.manifest import RecordPlace, SnapshotPlace
from hpcorch.model.events import CodeFrozen, EnvironmentFrozen
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.values import digest
from hpcorch.provenance.code.code_state import Left, Sources, describe
from hpcorch.provenance.code.freeze import FrozenCode, freeze
from hpcorch.provenance.code.git import Checkout, look
from hpcorch.provenance.code.sources import collect, project_of
from hpcorch.provenance.environment.packages import Owners, owners, package_folders
from hpcorch.provenance.environment.record import Environment, fingerprint, record
from hpcorch.runtime.attempt.environment import encode_environment, environment_file
from hpcorch.slurm.job_environment import script_exports

_LEFT_LISTED = 200
_LEFT_TOLD = 3
_ALL = ["interpreter", "packages", "platform", "modules", "container", "variables"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenProgram:
    """Code and environment of a launching program, frozen. The same for all of its launches.

    :param diff: how tracked files differ from the commit, as git applies it; empty if they do not
    :param apart: sections of the environment that a job's own set-up changes
    """

    code: FrozenCode
    checkout: Checkout
    diff: bytes
    environment: Environment
    fingerprint: str
    owners: Owners
    apart: tuple[str, ...]

    @property
    def trouble(self) -> str | None:
        """A sentence to be told at launch, if git could not tell of the checkout that the code is in."""
        problem = self.checkout.problem
        return None if problem is None else f"No commit is recorded of the code, the snapshot alone: {problem}"

    @property
    def snapshot(self) -> SnapshotPlace:
        """Where nodes find the code."""
        code = self.code
        return SnapshotPlace(
            digest=code.digest, archive=str(code.archive), root=str(code.root), is_whole=code.is_whole
        )

    def record_place(self, layout: SweepLayout, launch: int) -> RecordPlace:
        """Where nodes find the environment."""
        return RecordPlace(
            file=layout.relative(environment_file(layout.launch(launch))),
            digest=digest(encode_environment(self.environment, self.owners)),
            fingerprint=self.fingerprint,
            apart=list(self.apart),
        )


def freeze_program(
    function: Callable[..., Any], *, ledger: Path, keys: LaunchKeys, slurm_release: str | None
) -> FrozenProgram:
    """Freeze the code that a task function belongs to, and the environment of this process.

    :param ledger: the ledger's file; snapshots lie beside it, if it is in a project's folder
    :param keys: the launcher's
    :param slurm_release: as the cluster's configuration tells it; None without a cluster
    :raises UnavailableError: the snapshot cannot be written
    """
    checkout, diff = look(folder := code_folder(function))
    script = _file_of(function)
    project = project_of(folder, checkout, scripts=[] if script is None else [script], ledger=ledger)
    sources = collect(project, sys_path=sys.path)
    return _frozen(sources, checkout, diff, ledger=ledger, keys=keys, slurm_release=slurm_release)


def freeze_again(
    before: CodeFrozen,
    archive: Path,
    *,
    sys_path: Sequence[str],
    ledger: Path,
    keys: LaunchKeys,
    slurm_release: str | None,
) -> FrozenProgram:
    """Freeze the code of an earlier launch as it is now, without executing any of it.

    What that launch froze belongs to it still, ignored by git or not, since its program had it loaded.

    :param sys_path: of its program
    :param archive: where the earlier snapshot is now; without it only what is known to be code is taken
    :raises NotFoundError: the folder that it stood for is gone
    :raises UnavailableError: the snapshot cannot be written
    """
    folder = Path(before.root)
    if not folder.is_dir():
        raise NotFoundError(f"the folder of the code, {folder}, is not there any more: put it back")
    checkout, diff = look(folder)
    known: list[str] = []
    with suppress(HpcorchError):
        known = [entry.path for entry in open_archive(archive, before.digest).entries]
    project = project_of(folder, checkout, ledger=ledger)
    sources = collect(project, modules={}, sys_path=sys_path, known=known)
    return _frozen(sources, checkout, diff, ledger=ledger, keys=keys, slurm_release=slurm_release)


def _frozen(
    sources: Sources, checkout: Checkout, diff: bytes, *, ledger: Path, keys: LaunchKeys, slurm_release: str | None
) -> FrozenProgram:
    return FrozenProgram(
        code=freeze(sources, state=_state(ledger, sources.root)),
        checkout=checkout,
        diff=diff,
        environment=record(slurm_release=slurm_release, variables=_job_variables(keys)),
        fingerprint=fingerprint(),
        owners=owners(package_folders(sys.path)),
        apart=tuple(_set_up(keys)),
    )


def freeze_folder(
    folder: Path,
    *,
    ledger: Path,
    variables: Mapping[str, str],
    slurm_release: str | None,
    scripts: Sequence[Path] = (),
) -> FrozenProgram:
    """Freeze the code that a script or a command is among: its project, or the script alone.

    :param folder: where the code is
    :param variables: the environment that the command gets
    :param scripts: files that are code, absolute
    :raises UnavailableError: the snapshot cannot be written
    """
    checkout, diff = look(folder)
    sources = collect(project_of(folder, checkout, scripts=scripts, ledger=ledger), modules={})
    return FrozenProgram(
        code=freeze(sources, state=_state(ledger, sources.root)),
        checkout=checkout,
        diff=diff,
        environment=record(slurm_release=slurm_release, variables=variables),
        fingerprint=fingerprint(),
        owners=owners(package_folders(sys.path)),
        apart=(),
    )


def _state(ledger: Path, root: Path) -> Path:
    """The folder that keeps the snapshots: that of the ledger's project; for a ledger that is in none, that of the
    code, which nodes see for certain, or the ledger's where the code is read-only."""
    if ledger.parent.name == STATE_DIR:
        return ledger.parent
    own = root / STATE_DIR
    folder = snapshots_folder(own)
    deepest = next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110 - may be closed
    return own if os.access(deepest, os.W_OK | os.X_OK) else ledger.parent


def code_folder(function: Callable[..., Any]) -> Path:
    """The folder that a task function's code is in: of its file, or the top of its package.

    Of an installed function, and of one without a file, it is the working directory.
    """
    path = _file_of(function)
    if path is None:
        return Path.cwd()
    prefixes = [Path(os.path.realpath(prefix)) for prefix in (sys.prefix, sys.base_prefix)]
    is_installed = {"site-packages", "dist-packages"} & set(path.parts)
    if is_installed or any(path.is_relative_to(prefix / part) for prefix in prefixes for part in ("bin", "lib")):
        return Path.cwd()
    folder = path.parent
    while (folder / "__init__.py").exists():
        folder = folder.parent
    return folder


def _file_of(function: Callable[..., Any]) -> Path | None:
    """The file of a task function's module, links resolved."""
    file = getattr(sys.modules.get(getattr(function, "__module__", "")), "__file__", None)
    return Path(os.path.realpath(file)) if isinstance(file, str) and os.path.isfile(file) else None  # noqa: PTH113


def _job_variables(keys: LaunchKeys) -> dict[str, str]:
    """The environment that jobs start with, as far as it is known at submission."""
    variables = {**os.environ, **script_exports(os.environ)}
    variables.pop("PYTHONSAFEPATH", None)  # a job takes it out of its environment at once
    if keys.cpus_per_task is not None:
        variables.setdefault("OMP_NUM_THREADS", str(keys.cpus_per_task))
    return variables


def _set_up(keys: LaunchKeys) -> list[str]:
    if keys.python:
        return _ALL
    return ["modules", "container", "variables"] if keys.setup else []


def record_frozen(
    frozen: FrozenProgram, layout: SweepLayout, launch: int, folder: Path
) -> list[CodeFrozen | EnvironmentFrozen]:
    """Write what belongs to a launch; the facts about it.

    :param folder: that is written to, and will be the launch's
    :raises OSError: it cannot be written
    """
    diff = layout.launch(launch) / "code.diff"
    if frozen.diff:
        write_whole(folder / diff.name, frozen.diff)
    write_whole(environment_file(folder), encode_environment(frozen.environment, frozen.owners))
    code, checkout = frozen.code, frozen.checkout
    place = frozen.record_place(layout, launch)
    return [
        CodeFrozen(
            launch=launch,
            digest=code.digest,
            archive=str(code.archive),
            root=str(code.root),
            files=code.files,
            size=code.size,
            left=[[left.path, left.reason] for left in code.left[:_LEFT_LISTED]],
            left_count=len(code.left),
            commit=checkout.commit,
            branch=checkout.branch,
            remote=checkout.remote,
            dirty=checkout.dirty if checkout.commit else None,
            diff=layout.relative(diff) if frozen.diff else None,
            diff_digest=digest(frozen.diff) if frozen.diff else None,
            problem=checkout.problem,
        ),
        EnvironmentFrozen(launch=launch, file=place.file, digest=place.digest, fingerprint=place.fingerprint),
    ]


def left_out(left: tuple[Left, ...]) -> str:
    """One line about what is not in the snapshot and might be missed; empty if nothing is.

    Data, outputs and installed packages are on record like the rest, and nobody wants to be told each time.
    """
    telling = [one for one in left if not one.is_usual]
    more = len(telling) - _LEFT_TOLD
    return "; ".join(describe(one) for one in telling[:_LEFT_TOLD]) + (f"; and {more} more" if more > 0 else "")


def run_key(*, config_digest: str, code: str, seed: int) -> str:
    """What determines a run's result, in one digest: the same on any machine at any time."""
    return digest(f"hpcorch run 1\n{config_digest}\n{code}\n{seed}\n".encode())
