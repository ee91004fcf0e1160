"""Launcher keys as fields: who heeds one, and what its values may be.

Each kind of value checks a plain one and makes it hashable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from enum import Enum, Flag, auto
from typing import Any

from hpcorch.errors import UsageError
from hpcorch.model.drift import Aspect, Policy
from hpcorch.model.retry_budget import RetryBudget
from hpcorch.model.states import Entry, Isolation
from hpcorch.model.values import FrozenMapping, digits
from hpcorch.quick_dataclasses import dataclass

# Decided by the submission: an overridden one would leave runs without index or log, or with the wrong token.
_RESERVED = frozenset({"array", "output", "error", "hold", "parsable", "test_only", "wrap"})
# What a starting run does where something is not as it was at submission. Other code or configuration would make
# it another run. Packages and machines differ in ways that seldom matter, and stopping a sweep for a note of them
# would cost more; they are on record. Inputs change on purpose more often than by mistake, so that their user is
# told.
USUAL_POLICIES = {
    Aspect.CODE.value: Policy.REFUSE.value,
    Aspect.CONFIGURATION.value: Policy.REFUSE.value,
    Aspect.ENVIRONMENT.value: Policy.RECORD.value,
    Aspect.INPUTS.value: Policy.WARN.value,
}
POLICIES = tuple(policy.value for policy in Policy)


class Form(Enum):
    """What Hydra takes for a value, before its kind is checked."""

    WHOLE = "int"
    NUMBER = "float"
    TEXT = "str"
    FLAG = "bool"
    TEXTS = "list[str]"
    MAPPING = "dict[str, Any]"
    ANY = "Any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of value.

    :param check: (key, plain value) -> the value that :class:`.launch_keys.LaunchKeys` has; raises UsageError
    :param may_be_null: Hydra takes null for it even where that is not the default
    """

    form: Form
    check: Callable[[str, Any], Any]
    may_be_null: bool = False


#: Lets hpcorch choose a number.
AUTO = "auto"
#: The most that numbers of keys can be: Slurm's have 32 bits.
MOST = (1 << 31) - 1
_SHOWN = 100


def refusal(key: str, value: object, wanted: str) -> UsageError:
    """That the value of a key is none that it can have."""
    from hpcorch.model.value_text import shortened  # a job that starts has no wrong value

    shown = digits(value) if type(value) is int else repr(value)
    return UsageError(f"hydra.launcher.{key} must be {wanted}, not {shortened(shown, _SHOWN)}.")


def whole(minimum: int | None, *, most: int = MOST) -> Kind:
    """A whole number."""
    wanted = "a whole number" if minimum is None else f"a whole number of at least {minimum}"

    def check(key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or (minimum is not None and value < minimum):
            raise refusal(key, value, wanted)
        if abs(value) > most:
            raise refusal(key, value, f"a whole number of at most {most}")
        return value

    return Kind(form=Form.WHOLE, check=check)


def _amount(key: str, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise refusal(key, value, "a number of at least 0")
    if value > MOST:
        raise refusal(key, value, f"a number of at most {MOST}")
    return value


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise refusal(key, value, "text")
    if any(character in value for character in "\n\r\0"):
        raise UsageError(f"hydra.launcher.{key} cannot hold a line break or a NUL character: {value!r}.")
    return value


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise refusal(key, value, "true or false")
    return value


_count = whole(0).check
_at_least_one = whole(1).check


def _count_or_text(key: str, value: Any) -> int | str:
    return _text(key, value) if isinstance(value, str) else int(_count(key, value))


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise refusal(key, value, "a list of texts")
    for item in value:
        if not isinstance(item, str):
            raise refusal(key, value, "a list of texts")
        if "\0" in item or "\r" in item:
            raise UsageError(f"hydra.launcher.{key} cannot hold a carriage return or a NUL character: {item!r}.")
    return tuple(value)


def _licenses(key: str, value: Any) -> FrozenMapping[str, int] | str:
    if isinstance(value, str):
        return _text(key, value)
    if not isinstance(value, Mapping):
        raise refusal(key, value, "a mapping of licence names to counts, such as {scratch: 1}, or text")
    for name, count in value.items():
        if not isinstance(name, str) or re.fullmatch(r"[^\s,:;|]+", name) is None:
            raise UsageError(f"hydra.launcher.{key} has {name!r}, which cannot be the name of a licence.")
        _at_least_one(f"{key}.{name}", count)
    return FrozenMapping(value)


def _amounts(key: str, value: Any) -> FrozenMapping[str, int]:
    if not isinstance(value, Mapping):
        raise UsageError(
            f"hydra.launcher.{key} must say how much each run takes of what, such as {key}={{scratch_io: 1}},"
            f" not {value!r}."
        )
    return FrozenMapping({str(name): _at_least_one(f"{key}.{name}", count) for name, count in value.items()})


def _sbatch_flags(key: str, value: Any) -> FrozenMapping[str, str | bool | None]:
    if not isinstance(value, Mapping):
        raise refusal(key, value, "a mapping of sbatch's long flags to values, such as {mail-type: END}")
    return FrozenMapping({flag: _sbatch_flag(key, flag, setting) for flag, setting in value.items()})


def _sbatch_flag(key: str, flag: Any, setting: Any) -> str | bool | None:
    """A number becomes text, as sbatch is given it: 1 is another value than true, which is a bare flag."""
    if not isinstance(flag, str) or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", flag) is None:
        raise UsageError(f"{key} has {flag!r}; write the long name of a flag of sbatch, without dashes before it.")
    parameter_name(flag)
    if setting is None or isinstance(setting, bool):
        return setting
    if isinstance(setting, (int, float)):
        return str(setting)
    if isinstance(setting, str):
        return _text(f"{key}.{flag}", setting)
    raise refusal(f"{key}.{flag}", setting, "text, a number, true, false or null")


def parameter_name(flag: str) -> str:
    """The name of a flag of sbatch as submitit writes it.

    :raises UsageError: the flag is one that the submission decides itself
    """
    name = flag.replace("-", "_")
    if name in _RESERVED:
        cure = "use array_parallelism to limit it" if name == "array" else "leave it out"
        raise UsageError(f"additional_parameters cannot set {flag!r}, which hpcorch decides itself; {cure}.")
    return name


def _policies(key: str, value: Any) -> FrozenMapping[str, str]:
    if not isinstance(value, Mapping):
        raise UsageError(f"hydra.launcher.{key}={value!r} is not a set of policies: write {key}.code=warn")
    for aspect, policy in value.items():
        if aspect not in USUAL_POLICIES:
            raise UsageError(f"hydra.launcher.{key}.{aspect} does not exist: there are {', '.join(USUAL_POLICIES)}")
        if policy not in POLICIES:
            raise UsageError(f"hydra.launcher.{key}.{aspect}={policy} is none of {', '.join(POLICIES)}")
    return FrozenMapping(value)


def _entry(key: str, value: Any) -> str:
    if value not in [entry.value for entry in Entry]:
        raise refusal(key, value, "program or function")
    return str(value)


def _isolation(key: str, value: Any) -> str:
    if value not in [isolation.value for isolation in Isolation]:
        raise refusal(key, value, "fork or process")
    return str(value)


def _pack(key: str, value: Any) -> int | str:
    if value == AUTO:
        return AUTO
    try:
        return int(_at_least_one(key, value))
    except UsageError:
        raise refusal(key, value, f"a whole number of at least 1, or {AUTO}") from None


AMOUNT = Kind(form=Form.NUMBER, check=_amount)
TEXT = Kind(form=Form.TEXT, check=_text)
FLAG = Kind(form=Form.FLAG, check=_flag)
COUNT_OR_TEXT = Kind(form=Form.ANY, check=_count_or_text)
# Users also write 8 for "8".
MEMORY = Kind(form=Form.TEXT, check=lambda key, value: str(_count_or_text(key, value)))
TEXTS = Kind(form=Form.TEXTS, check=_texts)
LICENSES = Kind(form=Form.ANY, check=_licenses)
AMOUNTS = Kind(form=Form.ANY, check=_amounts)
SBATCH_FLAGS = Kind(form=Form.MAPPING, check=_sbatch_flags)
TASKS = Kind(form=Form.WHOLE, check=_at_least_one, may_be_null=True)  # hydra-submitit-launcher takes null for 1
PACK = Kind(form=Form.ANY, check=_pack)
BUDGET = Kind(form=Form.ANY, check=lambda _, value: RetryBudget.parse(value))
POLICY = Kind(form=Form.MAPPING, check=_policies)
ENTRY = Kind(form=Form.TEXT, check=_entry)
ISOLATION = Kind(form=Form.TEXT, check=_isolation)


class Heeds(Flag):
    """Who heeds a key."""

    LAUNCH = auto()  # a launch, wherever its runs go
    SLURM = auto()  # a launch on Slurm
    SBATCH = auto()  # every batch script: another submission of a run may have another value
    POOL = auto()  # every pool of processes on one machine; likewise
    NOBODY = 0  # no key of users'


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What a field says of its key.

    :param meaning: for the reference page, where the name does not say it all
    :param hydra: its default in Hydra's configuration
    :param local: the same for the local launcher
    """

    kind: Kind
    heeds: Heeds
    meaning: str
    hydra: Any
    local: Any


_UNSAID: Any = object()


def key(
    kind: Kind,
    heeds: Heeds,
    meaning: str = "",
    *,
    default: Any = None,
    hydra: Any = _UNSAID,
    local: Any = _UNSAID,
) -> Any:
    """A field of a dataclass. Its default is Hydra's, too, unless that is given."""
    given = plain_value(default) if hydra is _UNSAID else hydra
    known = Key(kind=kind, heeds=heeds, meaning=meaning, hydra=given, local=given if local is _UNSAID else local)
    return field(default=default, metadata={"key": known})


def plain_value(value: Any) -> Any:
    """A key's value as JSON and Hydra have it."""
    if isinstance(value, FrozenMapping):
        return dict(value)
    if isinstance(value, RetryBudget):
        return value.plain()
    return list(value) if isinstance(value, tuple) else value
