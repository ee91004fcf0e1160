"""The environment of an attempt, compared with the one that the run was submitted in."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcorch import tunables
from hpcorch.errors import RecordError
from hpcorch.journal.files import read_regular
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import RecordPlace
from hpcorch.model.drift import Aspect, Severity
from hpcorch.model.events import EnvironmentFound
from hpcorch.model.values import digest
from hpcorch.provenance.code.import_paths import module_files
from hpcorch.provenance.environment.packages import InstalledFiles, Owners, package_folders
from hpcorch.provenance.environment.record import Environment, fingerprint, record
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.context.drift import DriftLog
from hpcorch.runtime.context.place import Place
from hpcorch.slurm.job_environment import is_inside_job

if TYPE_CHECKING:
    from types import ModuleType

# Of every job its own; the hardware of the login node is not what was asked for.
_OF_THE_JOB = ("SLURM_", "HPCORCH_", "SUBMITIT_")
_HARDWARE = (("platform", "cpu"), ("platform", "kernel"))
_OWNERS = "owners"  # key beside the sections of the record


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedEnvironment:
    """This process's environment, compared with the frozen one.

    :param installed: compares what is loaded of the installed packages
    """

    fingerprint: str
    installed: InstalledFiles


def compare_environment(
    frozen: RecordPlace, place: Place, drift: DriftLog, sys_path: Sequence[str]
) -> ComparedEnvironment:
    """Compare this process's environment with the frozen one, and put on record what differs.

    Packages are looked at only where the fingerprints differ.

    :param sys_path: of the launching program
    """
    found = fingerprint(sys_path=sys_path)
    before, owners = _read(place.layout, frozen, drift) or (None, None)
    same = found == frozen.fingerprint
    after = record(slurm_release=_slurm_release(), sys_path=() if same else sys_path)
    if before is not None:
        if same:
            after = replace(after, packages=before.packages)
        before, after = _comparable(before), _comparable(after)
        if changes := _changes(before, after):
            drift.record(EnvironmentFound(host=place.host, fingerprint=found, changes=changes))
            _tell(before, after, frozen, drift)
    return ComparedEnvironment(fingerprint=found, installed=InstalledFiles(owners if same else None))


def _read(layout: SweepLayout, frozen: RecordPlace, drift: DriftLog) -> tuple[Environment, Owners | None] | None:
    """The frozen environment and who owns its files; None if the record is not as it was written: that is drift."""
    path = layout.directory / frozen.file
    after: str | None = None
    try:
        content = read_regular(layout.present(path))
        after = digest(content)
        if after == frozen.digest:
            plain = json.loads(content)
            return Environment.from_plain(plain), plain.get(_OWNERS)
    except (OSError, ValueError, RecordError, AttributeError):
        pass
    drift.found(Aspect.ENVIRONMENT, "record of the environment", before=frozen.digest, after=after)
    return None


def _comparable(environment: Environment) -> Environment:
    variables = environment.variables.items()
    return replace(
        environment, variables={name: value for name, value in variables if not name.startswith(_OF_THE_JOB)}
    )


def _changes(before: Environment, after: Environment) -> dict[str, dict[str, Any]]:
    old, new = before.as_plain(), after.as_plain()
    found = {
        section: {
            name: new[section].get(name)
            for name in {**old[section], **new[section]}
            if old[section].get(name) != new[section].get(name)
        }
        for section in old
    }
    return {section: changed for section, changed in found.items() if changed}


def _tell(before: Environment, after: Environment, frozen: RecordPlace, drift: DriftLog) -> None:
    from hpcorch.provenance.environment.changes import differences, grouped

    telling = [
        one
        for one in differences(before, after)
        if one.severity is not Severity.NOTE
        and one.section not in ("gpus", *frozen.apart)
        and (one.section, one.name) not in _HARDWARE
    ]
    sentences = {members[0].what: text for members, text in grouped(telling)}
    for one in telling[: tunables.RECORDED_CHANGES]:
        drift.found(
            Aspect.ENVIRONMENT,
            one.what,
            before=one.before,
            after=one.after,
            severity=one.severity,
            sentence=sentences.get(one.what, ""),
        )
    if len(telling) > tunables.RECORDED_CHANGES:
        drift.found(
            Aspect.ENVIRONMENT,
            "more",
            before=None,
            after=f"{len(telling) - tunables.RECORDED_CHANGES} further differences",
        )


def look_for_altered_files(
    drift: DriftLog, installed: InstalledFiles, modules: Mapping[str, ModuleType], *, late: bool = False
) -> None:
    """Record which of these modules are of installed packages and were changed after installation."""
    files = module_files(modules).values()
    for name, sentence in sorted(installed.altered(package_folders(sys.path), files).items()):
        drift.found(
            Aspect.ENVIRONMENT, f"file {name}", before="as installed", after="changed", sentence=sentence, late=late
        )


def _slurm_release() -> str | None:
    """As Slurm's own commands on this node tell, without asking the controller."""
    if not is_inside_job(os.environ):
        return None
    from hpcorch.process import CommandMissingError, CommandTimeoutError, run
    from hpcorch.slurm.commands import scontrol_version

    try:
        done = run(scontrol_version(), timeout_s=tunables.JOB_RECORD_TIMEOUT_S)
    except (CommandMissingError, CommandTimeoutError):
        return None
    return done.stdout.strip().removeprefix("slurm ") or None if done.returncode == 0 else None


def environment_file(launch: Path) -> Path:
    """Where a launch keeps its record."""
    return launch / "environment.json"


def encode_environment(environment: Environment, owners: Owners) -> bytes:
    """The content of that file: the sections of the record, and who owns the installed files."""
    plain: Mapping[str, Any] = {**environment.as_plain(), _OWNERS: owners}
    return json.dumps(plain, sort_keys=True, indent=1).encode("ascii")
