"""What a user's sbatch command line asks for, and the command line that hpcorch makes of it. No I/O.

Every flag of the user's stays as it was written. Ours stand before them where theirs shall win (a pool's), and
behind them where sbatch must hear ours: what the user said is in ours then, too.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hpcorch.model.ids import format_ranges
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.processes import SWEEP_VARIABLE, TOKEN_VARIABLE
from hpcorch.model.states import SubmissionForm
from hpcorch.model.values import FrozenMapping
from hpcorch.provenance.secrets import exports_without_secrets
from hpcorch.services.throttling.state import tag
from hpcorch.services.user_scripts.own_flags import Asked
from hpcorch.slurm.array_elements import array_indices
from hpcorch.slurm.sbatch.executor import marked
from hpcorch.slurm.sbatch.line import VARIABLES, SbatchLine, full_name

_POOL_FLAGS = ("partition", "qos", "account", "reservation", "nice")
# sbatch has no default of ours: no time limit but the partition's, and as many at once as there is room for.
_NOTHING_SAID = LaunchKeys(timeout_min=0, array_parallelism=None)
# What a job occupies, and for how long.
_DEMAND = (
    *("nodes", "ntasks", "ntasks-per-node", "cpus-per-task", "cpus-per-gpu", "time"),
    *("gpus", "gpus-per-node", "gpus-per-task", "gres"),
)
_ENVIRONMENT_AS_IS = frozenset({"NONE", "NIL", "ALL"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What the site profile makes of a request.

    :param keys: launcher keys that result
    :param leases: resources that may be leased -> directory, capacity, expiry in seconds
    :param warnings: sentences on what the profile does not like and allows
    """

    keys: LaunchKeys
    leases: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    @property
    def options(self) -> dict[str, Any]:
        """What is recorded: the keys that say something."""
        return self.keys.changes_since(_NOTHING_SAID)

    def throttle(self, parallel: int | None) -> dict[str, Any] | None:
        """What is recorded of a request that shares throttled resources.

        :param parallel: how many elements its user lets run at once
        """
        if not self.keys.throttles:
            return None
        return {"units": dict(self.keys.throttles), "bound": self.keys.array_parallelism or parallel}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptRequest:
    """A submission as its user wrote it.

    :param line: its command line, without our flags
    :param text: the script
    :param path: its file, if it has one
    :param values: option -> value, by command line, environment and script, in this order
    :param indices: the array's; None of a job that is no array
    :param parallel: how many elements the user lets run at once; None is any number
    """

    line: SbatchLine
    text: bytes
    path: Path | None
    values: Mapping[str, str]
    asked: Asked
    indices: Sequence[int] | None = None
    parallel: int | None = None

    @property
    def form(self) -> SubmissionForm:
        """How array indices name runs."""
        return SubmissionForm.SCRIPT_JOB if self.indices is None else SubmissionForm.SCRIPT_ARRAY

    @property
    def name(self) -> str:
        """The job's name: as Slurm will call it."""
        if (name := self.values.get("job-name")) is not None:
            return name
        if "wrap" in self.line.values:
            return "wrap"
        return "sbatch" if self.path is None else self.path.name

    @property
    def told_line(self) -> SbatchLine:
        """The command line as it is put on record: without values of variables that look like secrets."""
        told = list(self.line.flags)
        for place, word in enumerate(told[:]):
            name, equals, exports = word.removeprefix("--").partition("=")
            if not word.startswith("--") or full_name(name) != "export":
                continue
            if equals:
                told[place] = f"--{name}={exports_without_secrets(exports)}"
            else:
                told[place + 1 : place + 2] = map(exports_without_secrets, told[place + 1 : place + 2])
        return replace(self.line, flags=told)

    def keys(self) -> LaunchKeys:
        """As launcher keys, which the site profile judges. What sbatch will refuse is left to sbatch."""
        values = self.values
        nice = values.get("nice")
        return replace(
            _NOTHING_SAID,
            partition=values.get("partition"),
            qos=values.get("qos"),
            account=values.get("account"),
            reservation=values.get("reservation"),
            nice=None if nice is None else _nice(nice),
            licenses=values.get("licenses"),
            additional_parameters=FrozenMapping({name: values[name] for name in _DEMAND if name in values}),
            array_parallelism=self.parallel,
            pool=self.asked.pool,
            resources=FrozenMapping(self.asked.resources),
        )

    def config(self, digest: str) -> dict[str, Any]:
        """What is executed, as plain data.

        :param digest: the script's
        """
        return {
            "script": self.line.script if self.line.script is not None else f"<{self.name}>",
            "script_digest": digest,
            "arguments": list(self.line.arguments),
            "flags": list(self.told_line.flags),
        }


def _nice(text: str) -> int | None:
    """A value of ``--nice``, which is 100 where it says none (sbatch(1)); None of what is no number."""
    return int(text or 100) if re.fullmatch(r"(-?\d+)?", text, re.ASCII) else None


def merged_values(line: SbatchLine, environ: Mapping[str, str], script: Mapping[str, str]) -> dict[str, str]:
    """Option -> value: the command line's, else the environment's, else the script's (sbatch(1))."""
    variables = {name: environ[variable] for name, variable in VARIABLES.items() if variable in environ}
    return {**script, **variables, **line.values}


def array_of(values: Mapping[str, str]) -> tuple[list[int] | None, int | None]:
    """The indices of an array, and how many may run at once; None, None of a job that is no array.

    :raises ValueError: sbatch will refuse it
    """
    if not values.get("array"):
        return None, None
    found = array_indices(values["array"])
    if found is None:
        raise ValueError(f"--array={values['array']} is no array")
    return found


def command_line(request: ScriptRequest, granted: Granted, token: str) -> list[str]:
    """The arguments that sbatch is given.

    :param token: marks the submission for ever
    """
    values, line = request.values, request.line
    of_pool = {name: getattr(granted.keys, name) for name in _POOL_FLAGS if name not in values}
    ahead = [f"--{name}={value}" for name, value in of_pool.items() if value]
    comment = values.get("comment", "")
    behind = ["--parsable"]
    if granted.keys.throttles:
        comment = " ".join(filter(None, [comment, tag(granted.keys.throttles, request.parallel)]))
        behind.append("--hold")
    behind.append(f"--comment={marked(comment, token)}")
    behind += _licenses(values, granted)
    behind += _array(request, granted)
    behind += _export(values)
    rest = [*([] if line.script is None else [line.script]), *line.arguments]
    dashes = ["--"] if rest and rest[0].startswith("-") else []
    return [*ahead, *line.flags, *behind, *dashes, *rest]


def _licenses(values: Mapping[str, str], granted: Granted) -> list[str]:
    """Together with those that the user named: of two flags sbatch would heed the last."""
    licenses = granted.keys.licenses
    if not licenses or licenses == values.get("licenses"):
        return []
    text = licenses if isinstance(licenses, str) else ",".join(f"{name}:{n}" for name, n in licenses.items())
    return [f"--licenses={text}"]


def _array(request: ScriptRequest, granted: Granted) -> list[str]:
    """With a limit that is not the user's: a throttled array starts with one element at most."""
    if request.indices is None:
        return []
    limit = 1 if granted.keys.throttles else granted.keys.array_parallelism
    if limit is None or limit == request.parallel:
        return []
    return [f"--array={format_ranges(request.indices)}%{limit}"]


def _export(values: Mapping[str, str]) -> list[str]:
    """Our variables reach the job where the user lists those that do. (NONE cannot be added to.)"""
    names = values.get("export", "ALL").split(",")
    if _ENVIRONMENT_AS_IS.intersection(map(str.upper, names)):
        return []
    return [f"--export={','.join([*names, SWEEP_VARIABLE, TOKEN_VARIABLE])}"]


def log_pattern(request: ScriptRequest, cwd: Path) -> str:
    """Where the job's output goes, with sbatch's own marks (sbatch(1), FILENAME PATTERN)."""
    default = "slurm-%j.out" if request.indices is None else "slurm-%A_%a.out"
    return str(cwd / request.values.get("chdir", ".") / request.values.get("output", default))


def missing_folders(request: ScriptRequest, cwd: Path) -> list[str]:
    """Sentences on folders that are not there, and without which Slurm fails the job before it begins."""
    patterns = [log_pattern(request, cwd)]
    if (errors := request.values.get("error")) is not None:
        patterns.append(str(cwd / request.values.get("chdir", ".") / errors))
    folders = dict.fromkeys(Path(os.path.normpath(pattern)).parent for pattern in patterns)
    return [
        f"the folder {folder} for its output does not exist: make it before the job starts"
        f" (`mkdir -p {shlex.quote(str(folder))}`), or Slurm fails the job"
        for folder in folders
        if "%" not in str(folder) and not folder.is_dir()
    ]
