"""Who uses how much of the throttled resources, for reports. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.throttling.queue_view import QueueView, by_user
from hpcorch.services.throttling.state import Entry, State


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepUse:
    """What one sweep has of one resource.

    :param in_use: units that its running elements take
    :param granted: units that its elements may take by their arrays' limits, running or not
    :param waiting: elements that wait and are not held by the user
    :param paused: elements that the user holds
    """

    sweep: str
    in_use: int = 0
    granted: int = 0
    waiting: int = 0
    paused: int = 0

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "sweep": self.sweep,
            "in_use": self.in_use,
            "granted": self.granted,
            "waiting": self.waiting,
            "paused": self.paused,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUse:
    """One throttled resource.

    :param capacity: None where no site profile has said so far
    """

    name: str
    capacity: int | None
    sweeps: tuple[SweepUse, ...]

    @property
    def in_use(self) -> int:
        """Units in use by all sweeps."""
        return sum(one.in_use for one in self.sweeps)

    @property
    def waiting(self) -> int:
        """Elements of all sweeps that wait."""
        return sum(one.waiting for one in self.sweeps)

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "name": self.name,
            "capacity": self.capacity,
            "in_use": self.in_use,
            "waiting": self.waiting,
            "sweeps": [one.as_plain() for one in self.sweeps],
        }


def uses(state: State, views: Mapping[str, QueueView], capacities: Mapping[str, int]) -> list[ResourceUse]:
    """Every resource that has a capacity or is used, with the sweeps that use it, oldest first."""
    by_resource: dict[str, dict[str, SweepUse]] = {name: {} for name in capacities}
    for entry in state.queue:
        if entry.job_id in views:
            for name, count in entry.units.items():
                sweeps = by_resource.setdefault(name, {})
                before = sweeps.get(entry.sweep, SweepUse(sweep=entry.sweep))
                sweeps[entry.sweep] = _with(before, entry, views[entry.job_id], count)
    return [
        ResourceUse(name=name, capacity=capacities.get(name), sweeps=tuple(sweeps.values()))
        for name, sweeps in sorted(by_resource.items())
    ]


def _with(use: SweepUse, entry: Entry, view: QueueView, count: int) -> SweepUse:
    running = view.running + view.completing
    paused = len(by_user(entry, view))
    return SweepUse(
        sweep=use.sweep,
        in_use=use.in_use + running * count,
        granted=use.granted + max(entry.limit, running) * count,
        waiting=use.waiting + view.ready + view.later + len(view.held) - paused,
        paused=use.paused + paused,
    )
