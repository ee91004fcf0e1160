"""What executes the runs of a sweep."""

from __future__ import annotations

from enum import Enum


class Backend(str, Enum):
    """Its value is what is recorded, and what the command line takes."""

    SLURM = "slurm"
    LOCAL = "local"  # processes of the machine that the sweep is launched on
    UNKNOWN = "unknown"  # one of a newer version

    def __str__(self) -> str:
        return self.value

    @classmethod
    def of(cls, word: str) -> Backend:
        """The backend that a recorded word stands for; ``UNKNOWN`` if this version does not know it."""
        return _BY_WORD.get(word, cls.UNKNOWN)


_BY_WORD = {backend.value: backend for backend in Backend}
