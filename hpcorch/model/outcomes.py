"""How an attempt ended in its own words."""

from __future__ import annotations

from enum import Enum


class AttemptOutcome(str, Enum):
    """An attempt's own last word, as ``attempt-ended`` records it. What Slurm says may make another state of it."""

    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    STOPPED = "stopped"
    SKIPPED = "skipped"
    SUPERSEDED = "superseded"
    UNKNOWN = "unknown"  # a word that this version does not know

    def __str__(self) -> str:
        return self.value

    @classmethod
    def of(cls, word: str) -> AttemptOutcome:
        """The outcome that a recorded word stands for; ``UNKNOWN`` if this version does not know it."""
        return _OUTCOMES.get(word, cls.UNKNOWN)


_OUTCOMES = {outcome.value: outcome for outcome in AttemptOutcome}
