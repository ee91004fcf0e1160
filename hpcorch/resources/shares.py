"""How the capacity of shared resources is divided among arrays, and how to get there without ever exceeding it.

Pure decisions. Lowering an array's limit does not stop what runs (measured), so a raise counts on nothing but what
a look after the lowering has seen: what an array may occupy is the greater of its limit and of what runs.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from hpcorch.quick_dataclasses import dataclass

# Prefix of a sweep's own resource: the limit on how many of its runs run at once.
OWN: Final = "sweep:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One array that uses shared resources.

    :param units: resource -> how much of it each running element takes, at least 1
    :param want: elements that could run at once if nothing were short
    :param limit: the most elements that Slurm may let run at once now; 0 while the array is held
    :param running: elements that run
    :param completing: elements beyond these that still clean up: Slurm starts their successors already, also where
        processes ignore the signal that ended them (measured)
    :param uncertain: whether Slurm may have a lower limit than this, so that it is to be told again
    """

    array: str
    sweep: str
    units: Mapping[str, int]
    want: int
    limit: int = 0
    running: int = 0
    completing: int = 0
    uncertain: bool = False

    @property
    def occupied(self) -> int:
        """Elements that may run at once before anybody changes the limit."""
        return max(self.limit, self.running)


def divide(claims: Sequence[Claim], capacities: Mapping[str, int]) -> dict[str, int]:
    """How many elements of each array should run at once.

    Element by element, the sweep that has the least of what it has most of comes next (dominant resource fairness;
    what a sweep has to itself does not count), among equals the one whose first claim comes first. Within a sweep
    its claims are served one after the other. So every sweep gets one element before any gets two, in the order of
    the claims; whatever one cannot use goes to others; and equal claims have equal answers. A claim too large for
    what older ones leave has the first word as soon as it is the oldest, over younger ones that use the resource
    meanwhile.

    :param claims: oldest first
    :param capacities: resource -> units; what is missing has none
    :returns: array -> limit; never more than it wants, and in sum never more than there is
    """
    free = dict(capacities)
    given = dict.fromkeys((claim.array for claim in claims), 0)
    sweeps: dict[str, list[Claim]] = {}
    for claim in claims:
        sweeps.setdefault(claim.sweep, []).append(claim)
    used: dict[str, dict[str, int]] = {sweep: {} for sweep in sweeps}
    turns = [(0.0, place, sweep) for place, sweep in enumerate(sweeps)]
    while turns:
        _, place, sweep = heapq.heappop(turns)
        # What has enough, or does not fit, never will again: what is free only shrinks.
        sweeps[sweep] = [one for one in sweeps[sweep] if given[one.array] < one.want and _room(one, free) >= 1]
        if not sweeps[sweep]:
            continue
        claim = sweeps[sweep][0]
        given[claim.array] += 1
        for name, count in claim.units.items():
            free[name] -= count
            used[sweep][name] = used[sweep].get(name, 0) + count
        shares = (n / capacities[name] for name, n in used[sweep].items() if not name.startswith(OWN))
        share = max(shares, default=0.0)
        heapq.heappush(turns, (share, place, sweep))
    return given


def lowered(claims: Sequence[Claim], capacities: Mapping[str, int]) -> dict[str, int]:
    """The limits that are to be lowered now: array -> new limit, 0 for a hold.

    Only where it serves: a resource is overcommitted, another array may take what becomes free, or nobody is sure
    which limit Slurm has.

    :param claims: oldest first
    """
    target = divide(claims, capacities)
    free = free_of(claims, capacities)
    short = {name for name, left in free.items() if left < 0}
    for claim in claims:
        missing = target[claim.array] - claim.occupied
        if missing > 0:
            short.update(name for name, count in claim.units.items() if missing * count > free.get(name, 0))
    limits = {claim.array: claim.limit for claim in claims}
    for claim in claims:
        if claim.uncertain or not short.isdisjoint(claim.units):
            limits[claim.array] = min(claim.limit, target[claim.array])
    _give_up_unused(claims, limits, capacities)
    return {claim.array: limits[claim.array] for claim in claims if limits[claim.array] < claim.limit}


def _give_up_unused(claims: Sequence[Claim], limits: dict[str, int], capacities: Mapping[str, int]) -> None:
    """While more runs than there is, nothing more is to start: the youngest first give up what they do not use."""
    free = free_of((replace(claim, limit=limits[claim.array]) for claim in claims), capacities)
    for claim in reversed(claims):
        unused = limits[claim.array] - claim.running
        excess = max((-(free[name] // count) for name, count in claim.units.items()), default=0)
        if unused > 0 and excess > 0:
            limits[claim.array] -= min(unused, excess)
            for name, count in claim.units.items():
                free[name] += min(unused, excess) * count


def raised(claims: Sequence[Claim], capacities: Mapping[str, int]) -> dict[str, int]:
    """The limits that may be raised now, or told again: array -> new limit of at least 1, never a lower one.

    :param claims: oldest first, as a look saw them that was made after the last lowering
    """
    target = divide(claims, capacities)
    free = free_of(claims, capacities)
    for claim in claims:
        for name, count in claim.units.items():
            free[name] = free.get(name, 0) - claim.completing * count
    found: dict[str, int] = {}
    for claim in claims:
        limit = max(claim.limit, min(target[claim.array], claim.occupied + max(0, _room(claim, free))))
        for name, count in claim.units.items():
            free[name] = free.get(name, 0) - max(0, limit - claim.occupied) * count
        if limit > claim.limit or (claim.uncertain and 0 < limit <= target[claim.array]):
            found[claim.array] = limit
    return found


def free_of(claims: Iterable[Claim], capacities: Mapping[str, int]) -> dict[str, int]:
    """How much of each resource is free, not counting elements that clean up; negative if it is overcommitted."""
    free = dict(capacities)
    for claim in claims:
        for name, count in claim.units.items():
            free[name] = free.get(name, 0) - claim.occupied * count
    return free


def too_large(claims: Iterable[Claim], capacities: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """(array, resource) if one element takes more than the capacity, so that the array can never run."""
    for claim in claims:
        for name, count in claim.units.items():
            if count > capacities.get(name, 0):
                yield claim.array, name


def _room(claim: Claim, free: Mapping[str, int]) -> int:
    """How many further elements fit into what is free."""
    return min((free.get(name, 0) // count for name, count in claim.units.items()), default=claim.want)
