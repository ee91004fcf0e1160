"""The environment of an attempt, compared with the one that the run was submitted in."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcorch import tunables
from hpcorch.errors import RecordError
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import RecordPlace, digest
from hpcorch.model.events import EnvironmentFound
from hpcorch.process import CommandMissingError, CommandTimeoutError, run
from hpcorch.provenance.environment.changes import Severity, differences
from hpcorch.provenance.environment.fingerprint import fingerprint
from hpcorch.provenance.environment.packages import altered_files, package_folders
from hpcorch.provenance.environment.record import Environment, record
from hpcorch.runtime.context.drift import DriftLog
from hpcorch.runtime.context.place import Place

# Of every job its own; the hardware of the login node is not what was asked for.
_OF_THE_JOB = ("SLURM_", "HPCORCH_", "SUBMITIT_")
_HARDWARE = ("platform cpu", "platform kernel", "gpus ")


def compare_environment(frozen: RecordPlace, place: Place, drift: DriftLog, sys_path: Sequence[str]) -> str:
    """Compare this process's environment with the frozen one, and put on record what differs.

    Packages are looked at only where the fingerprints differ.

    :param sys_path: of the launching program
    :return: the fingerprint of this process's environment
    """
    found = fingerprint(sys_path=sys_path)
    before = _read(place.layout, frozen, drift)
    same = found == frozen.fingerprint
    after = record(slurm_release=_slurm_release(), sys_path=() if same else sys_path)
    if before is None:
        return found
    if same:
        after = replace(after, packages=before.packages)
    before, after = _comparable(before), _comparable(after)
    if changes := _changes(before, after):
        drift.record(EnvironmentFound(host=place.host, fingerprint=found, changes=changes))
    _tell(before, after, frozen, drift)
    return found


def _read(layout: SweepLayout, frozen: RecordPlace, drift: DriftLog) -> Environment | None:
    """The frozen environment; None if its record is not as it was written, which is drift itself."""
    path = layout.directory / frozen.file
    after: str | None = None
    try:
        content = layout.present(path).read_bytes()
        after = digest(content)
        if after == frozen.digest:
            return Environment.from_plain(json.loads(content))
    except (OSError, ValueError, RecordError, AttributeError):
        pass
    drift.found("environment", "record of the environment", before=frozen.digest, after=after)
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
    telling = [
        one
        for one in differences(before, after)
        if one.severity is not Severity.NOTE
        and not one.what.startswith(_HARDWARE)
        and one.what.partition(" ")[0] not in frozen.apart
    ]
    for one in telling[: tunables.RECORDED_CHANGES]:
        drift.found(
            "environment",
            one.what,
            before=one.before,
            after=one.after,
            severity=one.severity.value,
            sentence=str(one),
        )
    if len(telling) > tunables.RECORDED_CHANGES:
        drift.found(
            "environment",
            "more",
            before=None,
            after=f"{len(telling) - tunables.RECORDED_CHANGES} further differences",
        )


def look_for_altered_files(drift: DriftLog, told: set[str], *, late: bool = False) -> None:
    """Put on record which loaded modules of installed packages are not as they were installed.

    :param told: files that are on record already; added to
    """
    for name, sentence in sorted(altered_files(package_folders(sys.path), sys.modules).items()):
        if name not in told:
            told.add(name)
            drift.found(
                "environment", f"file {name}", before="as installed", after="changed", sentence=sentence, late=late
            )


def _slurm_release() -> str | None:
    """As Slurm's own commands on this node tell, without asking the controller."""
    if "SLURM_JOB_ID" not in os.environ:
        return None
    try:
        done = run(["scontrol", "--version"], timeout_s=tunables.JOB_RECORD_TIMEOUT_S)
    except (CommandMissingError, CommandTimeoutError):
        return None
    return done.stdout.strip().removeprefix("slurm ") or None if done.returncode == 0 else None


def environment_file(launch: Path) -> Path:
    """Where a launch keeps its record."""
    return launch / "environment.json"


def encode_environment(environment: Environment) -> bytes:
    """The content of that file."""
    plain: Mapping[str, Any] = environment.as_plain()
    return json.dumps(plain, sort_keys=True, indent=1).encode("ascii")
