"""What the ledger answers beyond the entities of the model."""

from __future__ import annotations

from collections.abc import Mapping

from hpcorch.model.entities import Sweep
from hpcorch.model.states import RunState
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSummary:
    """A sweep and where its runs stand.

    :param counts: only states that some run is in
    :param looked_at: when its journals were last read, or of a script's sweep Slurm was asked (UTC), which is the
        age of all this; None if never
    """

    sweep: Sweep
    state: RunState
    counts: Mapping[RunState, int]
    looked_at: str | None

    @property
    def runs(self) -> int:
        """How many runs the sweep has, in all states."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterEvents:
    """What became known of a sweep after a certain event.

    :param runs: which of its runs that is about, ascending
    :param kinds: of its facts, in order of their names
    """

    sweep: str
    events: int
    runs: tuple[int, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of the chain: noted elsewhere, it vouches for every event before it.

    :param events: how many events there are
    :param digest: ``sha256:`` and the hash of the last one
    """

    events: int
    digest: str
