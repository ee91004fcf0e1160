"""Seeds of runs: the configuration's own, or derived from the sweep's root seed and the run's identity."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from enum import Enum
from typing import Any

from hpcorch.quick_dataclasses import dataclass

# NumPy's legacy generator takes 32 bits; every library that we seed takes at least as many.
SEED_BITS = 32


class SeedSource(str, Enum):
    """Where a run's seed came from; its value is what is recorded."""

    CONFIG = "config"  # the run's own configuration
    DERIVED = "derived"  # from the sweep's root seed
    OFFERED = "offered"  # derived, for a script that may use it ($HPCORCH_SEED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A run's seed in [0, 2**32) or as configured, and where it came from."""

    value: int
    source: SeedSource


def new_root_seed() -> int:
    """A fresh root seed for a sweep, in [0, 2**32)."""
    return secrets.randbits(SEED_BITS)


def derive_seed(root_seed: int, config_digest: str, occurrence: int) -> int:
    """A run's seed from the sweep's root seed and the run's identity.

    The identity is the digest of the task configuration and how many runs of the sweep with that digest came
    before, so that a reordered sweep gives the same seeds and repeated runs get different ones.
    """
    text = f"{root_seed}:{config_digest}:{occurrence}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[: SEED_BITS // 8], "big")


def run_seed(config: Mapping[str, Any], *, root_seed: int, config_digest: str, occurrence: int) -> Seed:
    """The seed of a run: ``config["seed"]`` if that is an integer, else derived."""
    configured = config.get("seed")
    if isinstance(configured, int) and not isinstance(configured, bool):
        return Seed(value=configured, source=SeedSource.CONFIG)
    return Seed(value=derive_seed(root_seed, config_digest, occurrence), source=SeedSource.DERIVED)
