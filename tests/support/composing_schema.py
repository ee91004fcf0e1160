"""Structured configurations for the tests of composition."""

from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from pathlib import Path

from hydra.core.config_store import ConfigStore


class Color(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Part:
    size: int = 1
    label: str = "${seed}"


@dataclass
class Typed:
    color: Color = Color.RED
    count: int = 3
    ratio: int | str = 5
    maybe: float | None = None
    where: Path = Path("/data")
    blob: bytes = b"\x00x"
    stamp: str = "${now:%Y}"
    parts: dict[str, Part] = field(default_factory=lambda: {"one": Part()})
    by_color: dict[Color, int] = field(default_factory=lambda: {Color.RED: 1})
    sizes: list[int] = field(default_factory=lambda: [1, 2])


@cache  # a second schema of the same name would be suspicious to Hydra
def register() -> None:
    """Store the schema that ``data/compose/config.yaml`` names."""
    ConfigStore.instance().store(name="schema", node={"typed": Typed(), "anything": None})
