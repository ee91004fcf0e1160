"""What a user's sbatch command line asks for, and the command line that hpcorch makes of it. No I/O.

Every flag of the user's stays as it was written. Ours stand before them where theirs shall win (a pool's), and
behind them where sbatch must hear ours: what the user said is in ours then, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcorch.model.ids import format_ranges
from hpcorch.model.states import SubmissionForm
from hpcorch.model.variables import SWEEP_VARIABLE, TOKEN_VARIABLE
from hpcorch.services.throttling.state import tag
from hpcorch.services.user_scripts.own_flags import Asked
from hpcorch.slurm.array_elements import array_indices
from hpcorch.slurm.sbatch.line import VARIABLES, SbatchLine
from hpcorch.slurm.sbatch.marks import marked

_POOL_FLAGS = ("partition", "qos", "account", "reservation", "nice")
_ENVIRONMENT_AS_IS = frozenset({"NONE", "NIL", "ALL"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What the site profile makes of a request.

    :param keys: launcher keys that result
    :param throttles: throttled resource -> units that each element takes
    :param leases: resources that may be leased -> directory, capacity, expiry in seconds
    :param warnings: sentences on what the profile does not like and allows
    """

    keys: Mapping[str, Any]
    throttles: Mapping[str, int] = field(default_factory=dict)
    leases: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    def throttle(self, parallel: int | None) -> dict[str, Any] | None:
        """What is recorded of a request that shares throttled resources.

        :param parallel: how many elements its user lets run at once
        """
        if not self.throttles:
            return None
        return {"units": dict(self.throttles), "bound": self.keys.get("array_parallelism", parallel)}


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

    def keys(self) -> dict[str, Any]:
        """As launcher keys, which the site profile judges."""
        additional = {
            name: value
            for name, value in self.values.items()
            if name in ("nodes", "ntasks", "ntasks-per-node", "cpus-per-task", "cpus-per-gpu", "time")
            or name in ("gpus", "gpus-per-node", "gpus-per-task", "gres")
        }
        keys: dict[str, Any] = {key: self.values.get(key) for key in (*_POOL_FLAGS, "licenses")}
        keys |= {
            "additional_parameters": additional,
            "resources": dict(self.asked.resources),
            "pool": self.asked.pool,
        }
        if self.indices is not None:
            keys["array_parallelism"] = self.parallel
        return {key: value for key, value in keys.items() if value not in (None, {})}

    def config(self, digest: str) -> dict[str, Any]:
        """What is executed, as plain data.

        :param digest: the script's
        """
        return {
            "script": self.line.script if self.line.script is not None else f"<{self.name}>",
            "script_digest": digest,
            "arguments": list(self.line.arguments),
            "flags": list(self.line.flags),
        }


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
    ahead = [f"--{key}={granted.keys[key]}" for key in _POOL_FLAGS if key not in values and granted.keys.get(key)]
    comment = values.get("comment", "")
    behind = ["--parsable"]
    if granted.throttles:
        comment = " ".join(filter(None, [comment, tag(granted.throttles, request.parallel)]))
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
    licenses = granted.keys.get("licenses")
    if not licenses or licenses == values.get("licenses"):
        return []
    text = licenses if isinstance(licenses, str) else ",".join(f"{name}:{n}" for name, n in licenses.items())
    return [f"--licenses={text}"]


def _array(request: ScriptRequest, granted: Granted) -> list[str]:
    """With a limit that is not the user's: a throttled array starts with one element at most."""
    if request.indices is None:
        return []
    limit = 1 if granted.throttles else granted.keys.get("array_parallelism")
    if limit is None or limit == request.parallel:
        return []
    return [f"--array={format_ranges(request.indices)}%{limit}"]


def _export(values: Mapping[str, str]) -> list[str]:
    """Our variables reach the job where the user lists those that do. (NONE cannot be added to.)"""
    names = values.get("export", "ALL").split(",")
    if _ENVIRONMENT_AS_IS.intersection(map(str.upper, names)):
        return []
    return [f"--export={','.join([*names, SWEEP_VARIABLE, TOKEN_VARIABLE])}"]


def code_folder(script: Path | None, cwd: Path) -> Path:
    """The folder that a script's code is in: the working directory, unless the script is elsewhere."""
    if script is None or str(script).startswith(("/dev/", "/proc/")):  # an open file
        return cwd
    folder = Path(os.path.normpath(cwd / script)).parent
    return cwd if folder.is_relative_to(cwd) else folder


def log_pattern(request: ScriptRequest, cwd: Path) -> str:
    """Where the job's output goes, with sbatch's own marks (sbatch(1), FILENAME PATTERN)."""
    default = "slurm-%j.out" if request.indices is None else "slurm-%A_%a.out"
    return str(cwd / request.values.get("chdir", ".") / request.values.get("output", default))
