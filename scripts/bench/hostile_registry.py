"""Where the kinds of attacks are listed. Used by hostile.py and the modules that define them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from hostile_stage import Stage

Attack: TypeAlias = "Callable[[Stage, random.Random], str]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of attack. ``attack`` brings it about, and says what it has drawn."""

    name: str
    attack: Attack


KINDS: dict[str, Kind] = {}


def kind(attack: Attack) -> Attack:
    """List a kind under the name of its function."""
    add(attack.__name__.replace("_", "-"), attack)
    return attack


def add(name: str, attack: Attack) -> None:
    KINDS[name] = Kind(name=name, attack=attack)
