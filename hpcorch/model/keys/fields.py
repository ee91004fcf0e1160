"""How a launcher key is written down: one field, with all that others derive from it."""

from __future__ import annotations

from dataclasses import field
from enum import Flag, auto
from typing import Any

from hpcorch.model.frozen_mapping import FrozenMapping
from hpcorch.model.keys.kinds import Kind
from hpcorch.model.retry_budget import RetryBudget
from hpcorch.quick_dataclasses import dataclass


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
