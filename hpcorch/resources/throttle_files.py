"""The files in which a user's throttled arrays on one cluster are kept, for those who share what the arrays use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ThrottleFiles:
    """Where they are: in one folder, seen by all hosts that take part."""

    folder: Path

    @property
    def state(self) -> Path:
        """What is known of the arrays."""
        return self.folder / "throttles.json"

    @property
    def lock(self) -> Path:
        """The lock for changing the state or the arrays' limits."""
        return self.folder / "throttles.lock"

    @property
    def dirty(self) -> Path:
        """Exists while a rebalance is due."""
        return self.folder / "throttles.dirty"

    @property
    def looked(self) -> Path:
        """Its modification time is the time of the last rebalance."""
        return self.folder / "throttles.looked"

    @property
    def short(self) -> Path:
        """Exists while runs wait for what others use."""
        return self.folder / "throttles.short"
