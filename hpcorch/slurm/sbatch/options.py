"""What a job asks of Slurm, as one checked value.

Keys and defaults are hydra-submitit-launcher's where it has one; sbatch(1) has the meaning of the values.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, cast

from hpcorch.errors import UsageError

Scalar = str | int | float | bool | None
USUAL_DELAY_S = 120  # hydra-submitit-launcher's
# Decided by the submission: an overridden one would leave runs without index or log, or with the wrong token.
_RESERVED = frozenset({"array", "output", "error", "hold", "parsable", "test_only", "wrap"})

# Of the runs of one array, unless somebody asks for another number (as hydra-submitit-launcher has it).
DEFAULT_PARALLELISM: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """One submission's options. ``None`` (or an empty collection) means: say nothing to Slurm about it.

    Values that Slurm parses itself (``gres``, ``constraint``, ``dependency``, ...) pass through as written.

    :param timeout_min: time limit in minutes; 0 is Slurm's word for the partition's own limit
    :param mem_gb: memory per node in GB; 0 is Slurm's word for all of a node's memory
    :param gpus_per_node: a count, or a type and a count (``a100:2``)
    :param licenses: licence name -> count, or the text of ``--licenses``
    :param signal_delay_s: seconds between the warning signal and the time limit; :attr:`warned_s` has what is used
    :param array_parallelism: at most so many tasks of the array run at once
    :param additional_parameters: sbatch flags by long name; they win over every other key. ``True`` is a bare
        flag; ``False`` and ``None`` take a flag away
    :param setup: lines of bash, verbatim, before the task starts
    :param srun_args: arguments for srun; having any means that the task is started by srun
    :param python: how Python is started, as shell text (``singularity exec image.sif python``)
    """

    timeout_min: int = 60
    cpus_per_task: int | None = None
    gpus_per_node: int | str | None = None
    gpus_per_task: int | str | None = None
    tasks_per_node: int = 1
    mem_gb: int | float | None = None
    mem_per_gpu: str | None = None
    mem_per_cpu: str | None = None
    cpus_per_gpu: int | None = None
    nodes: int = 1
    name: str = "hpcorch"
    partition: str | None = None
    qos: str | None = None
    account: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    gres: str | None = None
    comment: str | None = None
    signal_delay_s: int | None = None
    array_parallelism: int = DEFAULT_PARALLELISM
    additional_parameters: Mapping[str, Scalar] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    srun_args: tuple[str, ...] = ()
    python: str | None = None
    stderr_to_stdout: bool = False
    licenses: Mapping[str, int] | str | None = None
    reservation: str | None = None
    nice: int | None = None
    dependency: str | None = None
    nodelist: str | None = None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> JobOptions:
        """Check plain values, as a configuration has them.

        A key whose value is ``None`` gets its default.

        :raises UsageError: a key is unknown, or a value has the wrong type or cannot be written in a script
        """
        known = cls.keys()
        for key in values:
            if key not in known:
                raise UsageError(f"{key!r} is not a Slurm option of hpcorch{_suggestion(key, known)}")
        return cls(**{key: _CHECKS[key](key, value) for key, value in values.items() if value is not None})

    @classmethod
    def from_launcher(cls, params: Mapping[str, Any]) -> JobOptions:
        """What a launcher's keys ask of Slurm; those that Slurm has nothing to do with are passed over.

        :raises UsageError: a key has a value that Slurm cannot be given
        """
        known = cls.keys()
        return cls.from_mapping({key: value for key, value in params.items() if key in known})

    @classmethod
    def keys(cls) -> frozenset[str]:
        """The names of all options."""
        return frozenset(one.name for one in fields(cls))

    @property
    def limit_s(self) -> int | None:
        """The time limit in seconds; None where it is the partition's, or a flag of the user's."""
        flags = {_plain_name(flag) for flag in self.additional_parameters}
        return 60 * self.timeout_min if self.timeout_min and "time" not in flags else None

    @property
    def warned_s(self) -> int:
        """Seconds before the time limit at which the warning comes: as asked, else 120 or half of the limit."""
        if self.signal_delay_s is not None:
            return self.signal_delay_s
        return USUAL_DELAY_S if self.limit_s is None else min(USUAL_DELAY_S, self.limit_s // 2)

    def check_warning(self) -> None:
        """Refuse a warning that each run would get as soon as it begins.

        :raises UsageError: it is to come as long before the time limit as that is, or longer
        """
        asked, limit = self.signal_delay_s, self.limit_s
        if asked and limit is not None and asked >= limit:
            raise UsageError(
                f"With signal_delay_s={asked} and timeout_min={self.timeout_min} ({limit} s) each run would be"
                f" warned of its time limit as soon as it begins: set signal_delay_s below {limit}, or leave it out"
                f" for {min(USUAL_DELAY_S, limit // 2)}."
            )

    @property
    def licenses_text(self) -> str | None:
        """The value of ``--licenses``, ``None`` for none."""
        if self.licenses is None or isinstance(self.licenses, str):
            return self.licenses or None
        return ",".join(f"{name}:{count}" for name, count in self.licenses.items()) or None


def check_flag(flag: str) -> str:
    """The name of a flag as submitit writes it.

    :raises UsageError: the flag is one that the submission decides itself
    """
    name = _plain_name(flag)
    if name in _RESERVED:
        cure = "use array_parallelism to limit it" if name == "array" else "leave it out"
        raise UsageError(f"additional_parameters cannot set {flag!r}, which hpcorch decides itself; {cure}.")
    return name


def _plain_name(flag: str) -> str:
    return flag.replace("-", "_")


def _suggestion(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return "; a flag of sbatch without a key of its own goes into additional_parameters"


def _refuse(key: str, value: object, wanted: str) -> UsageError:
    return UsageError(f"The Slurm option {key} must be {wanted}, not {value!r}.")


def _whole(minimum: int | None) -> Callable[[str, Any], int]:
    wanted = "a whole number" if minimum is None else f"a whole number of at least {minimum}"

    def check(key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or (minimum is not None and value < minimum):
            raise _refuse(key, value, wanted)
        return value

    return check


def _amount(key: str, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise _refuse(key, value, "a number of at least 0")
    return value


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _refuse(key, value, "text")
    if any(character in value for character in "\n\r\0"):
        raise UsageError(f"The Slurm option {key} cannot hold a line break or a NUL character: {value!r}.")
    return value


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refuse(key, value, "true or false")
    return value


def _number_or_text(key: str, value: Any) -> int | str:
    """A count, or text; memory keys of the incumbent are text that users also write as numbers."""
    return _text(key, value) if isinstance(value, str) else _whole(0)(key, value)


def _memory(key: str, value: Any) -> str:
    return str(_number_or_text(key, value))


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _refuse(key, value, "a list of texts")
    for item in value:
        if not isinstance(item, str):
            raise _refuse(key, value, "a list of texts")
        if "\0" in item or "\r" in item:
            raise UsageError(f"The Slurm option {key} cannot hold a carriage return or a NUL character: {item!r}.")
    return tuple(value)


def _licenses(key: str, value: Any) -> Mapping[str, int] | str:
    if isinstance(value, str):
        return _text(key, value)
    if not isinstance(value, Mapping):
        raise _refuse(key, value, "a mapping of licence names to counts, such as {scratch: 1}, or text")
    for name, count in value.items():
        if not isinstance(name, str) or re.fullmatch(r"[^\s,:;|]+", name) is None:
            raise UsageError(f"The Slurm option {key} has {name!r}, which cannot be the name of a licence.")
        _whole(1)(f"{key}.{name}", count)
    return dict(value)


def _additional(key: str, value: Any) -> Mapping[str, Scalar]:
    if not isinstance(value, Mapping):
        raise _refuse(key, value, "a mapping of sbatch's long flags to values, such as {mail-type: END}")
    checked: dict[str, Scalar] = {}
    for flag, setting in value.items():
        if not isinstance(flag, str) or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", flag) is None:
            raise UsageError(
                f"{key} has {flag!r}; write the long name of a flag of sbatch, without dashes before it."
            )
        check_flag(flag)
        if isinstance(setting, str):
            _text(f"{key}.{flag}", setting)
        elif setting is not None and not isinstance(setting, (int, float)):
            raise _refuse(f"{key}.{flag}", setting, "text, a number, true, false or null")
        checked[flag] = cast("Scalar", setting)
    return checked


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "timeout_min": _whole(0),
    "cpus_per_task": _whole(1),
    "gpus_per_node": _number_or_text,
    "gpus_per_task": _number_or_text,
    "tasks_per_node": _whole(1),
    "mem_gb": _amount,
    "mem_per_gpu": _memory,
    "mem_per_cpu": _memory,
    "cpus_per_gpu": _whole(1),
    "nodes": _whole(1),
    "signal_delay_s": _whole(0),
    "array_parallelism": _whole(1),
    "additional_parameters": _additional,
    "setup": _texts,
    "srun_args": _texts,
    "stderr_to_stdout": _flag,
    "licenses": _licenses,
    "nice": _whole(None),
    **dict.fromkeys(
        (
            *("name", "partition", "qos", "account", "constraint", "exclude", "gres", "comment"),
            *("python", "reservation", "dependency", "nodelist"),
        ),
        _text,
    ),
}
