"""Seeds of runs: the configuration's own, or derived from the sweep's root seed and the run's identity."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from enum import Enum
from typing import Any

from hpcorch.model.values import digits, from_plain
from hpcorch.quick_dataclasses import dataclass

# NumPy's legacy generator takes 32 bits; every library that we seed takes at least as many.
SEED_BITS = 32
# The most that PyTorch and the ledger take.
_CONFIGURED = range(-(1 << 63), 1 << 63)


class SeedSource(str, Enum):
    """Where a run's seed came from; its value is what is recorded."""

    CONFIG = "config"  # the run's own configuration
    DERIVED = "derived"  # from the sweep's root seed
    OFFERED = "offered"  # derived, for a script that may use it ($HPCORCH_SEED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A run's seed, in [0, 2**32) if it is derived and of at most 64 bits if configured, and where it came from."""

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
    return _drawn_from(f"{root_seed}:{config_digest}:{occurrence}")


def _drawn_from(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[: SEED_BITS // 8], "big")


def run_seed(config: Mapping[str, Any], *, root_seed: int, config_digest: str, occurrence: int) -> Seed:
    """The seed of a run: ``config["seed"]`` if that is an integer, else derived.

    For an integer of more than 64 bits stands one that is drawn from it.

    :param config: the run's plain configuration
    """
    configured = from_plain(config.get("seed"))
    if type(configured) is int:
        value = configured if configured in _CONFIGURED else _drawn_from(digits(configured))
        return Seed(value=value, source=SeedSource.CONFIG)
    return Seed(value=derive_seed(root_seed, config_digest, occurrence), source=SeedSource.DERIVED)
