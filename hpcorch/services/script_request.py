"""What a user's sbatch command line asks for, and the command line that it becomes. No I/O.

Every flag of the user's stays as it was written. Ours stand before them where theirs shall win (a pool's), and
behind them where sbatch must hear ours: what the user said is in ours then, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcorch.errors import UsageError
from hpcorch.model.ids import format_ranges
from hpcorch.model.states import SubmissionForm
from hpcorch.services.throttle_state import tag
from hpcorch.slurm.marks import marked
from hpcorch.slurm.sbatch_line import VARIABLES, SbatchLine, array_indices, directive_lines, words_of

SWEEP_VARIABLE, TOKEN_VARIABLE = "HPCORCH_SWEEP_DIR", "HPCORCH_TOKEN"
RESOURCE_FLAG, POOL_FLAG = "--hpcorch-resource", "--hpcorch-pool"
OUR_OPTIONS = (RESOURCE_FLAG[2:], POOL_FLAG[2:])
_WORD = "#HPCORCH"
_OURS_IN_SCRIPT = {"--resource": RESOURCE_FLAG, "--pool": POOL_FLAG}
_POOL_FLAGS = ("partition", "qos", "account", "reservation", "nice")
_ENVIRONMENT_AS_IS = frozenset({"NONE", "NIL", "ALL"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of the catalog of resources: by flags of ours, or in ``#HPCORCH`` lines.

    :param resources: name -> how much each job or array element takes
    """

    resources: Mapping[str, int] = field(default_factory=dict)
    pool: str | None = None

    def __bool__(self) -> bool:
        return bool(self.resources) or self.pool is not None

    def over(self, other: Asked) -> Asked:
        """Both together; where they differ, this one's word counts."""
        return Asked(resources={**other.resources, **self.resources}, pool=self.pool or other.pool)


def take_ours(words: Sequence[str]) -> tuple[Asked, list[str]]:
    """Our flags among sbatch's, and the words without them. They stand before the script.

    :raises UsageError: a value is missing or wrong
    """
    resources: dict[str, int] = {}
    pool: str | None = None
    left: list[str] = []
    rest = list(words)
    while rest:
        name, equals, value = rest[0].partition("=")
        if name not in (RESOURCE_FLAG, POOL_FLAG):
            left.append(rest.pop(0))
            continue
        rest.pop(0)
        if not equals:
            if not rest:
                raise UsageError(
                    f"{name} needs a value, such as {name} {'scratch_io=1' if 'res' in name else 'debug'}"
                )
            value = rest.pop(0)
        if name == POOL_FLAG:
            pool = value
        else:
            resources |= _resource(value)
    return Asked(resources=resources, pool=pool), left


def asked_in_script(script: bytes) -> Asked:
    """What ``#HPCORCH --resource scratch_io=1`` and ``#HPCORCH --pool critical`` lines of a script ask for.

    :raises UsageError: a line asks for anything else
    """
    asked = Asked()
    for line in directive_lines(script, _WORD):
        words = [_ours(word, line) for word in words_of(line)]
        more, left = take_ours(words)
        if left:
            raise UsageError(f"the script's line {_WORD}{line} has {left[0]!r}, {_IN_SCRIPT}")
        asked = more.over(asked)
    return asked


_IN_SCRIPT = f"which is nothing that {_WORD} lines may say: they have --resource NAME=COUNT and --pool NAME"


def _ours(word: str, line: str) -> str:
    name, equals, value = word.partition("=")
    if name.startswith("--") and name not in _OURS_IN_SCRIPT:
        raise UsageError(f"the script's line {_WORD}{line} has {name}, {_IN_SCRIPT}")
    return _OURS_IN_SCRIPT.get(name, name) + equals + value


def _resource(text: str) -> dict[str, int]:
    name, _, count = text.partition("=")
    if not name or not (count or "1").isdigit():
        raise UsageError(f"{text!r} is no amount of a resource: write NAME=COUNT, such as scratch_io=1")
    return {name: int(count or 1)}


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
    :param values: option -> value, by command line, environment and script, in this order
    :param indices: the array's; None of a job that is no array
    :param parallel: how many elements the user lets run at once; None is any number
    """

    line: SbatchLine
    text: bytes
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
        if name := self.values.get("job-name"):
            return name
        if "wrap" in self.line.values:
            return "wrap"
        return Path(self.line.script).name if self.line.script is not None else "sbatch"

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
    script = [] if line.script is None else ["--", line.script] if line.script.startswith("-") else [line.script]
    return [*ahead, *line.flags, *behind, *script, *line.arguments]


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
    if _ENVIRONMENT_AS_IS.intersection(names):
        return []
    return [f"--export={','.join([*names, SWEEP_VARIABLE, TOKEN_VARIABLE])}"]


def code_folder(script: str | None, cwd: Path) -> Path:
    """The folder that a script's code is in: the working directory, unless the script is elsewhere."""
    if script is None:
        return cwd
    folder = Path(os.path.normpath(cwd / script)).parent
    return cwd if folder.is_relative_to(cwd) else folder


def log_pattern(request: ScriptRequest, cwd: Path) -> str:
    """Where the job's output goes, with sbatch's own marks (sbatch(1), FILENAME PATTERN)."""
    default = "slurm-%j.out" if request.indices is None else "slurm-%A_%a.out"
    return str(cwd / request.values.get("chdir", ".") / request.values.get("output", default))
