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
        """Of who changes that, or the arrays' limits."""
        return self.folder / "throttles.lock"

    @property
    def dirty(self) -> Path:
        """There while somebody is to look."""
        return self.folder / "throttles.dirty"

    @property
    def looked(self) -> Path:
        """Its time is that of the last look."""
        return self.folder / "throttles.looked"

    @property
    def short(self) -> Path:
        """There while runs wait for what others have."""
        return self.folder / "throttles.short"
