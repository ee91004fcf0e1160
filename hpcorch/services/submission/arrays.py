"""Cutting runs into arrays: by what they ask for, by the size of an array, by what Slurm accepts now. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hpcorch.model.keys.launch_keys import LaunchKeys

# Jobs of a sweep beside its runs: each of two arrays has a keeper, and those of two that are over may be at work.
KEEPERS = 4
# So many arrays are provided for by that; each further one of a feeding takes one job more.
_KEPT_ARRAYS = 2
# Of a limit so much is left for the user's other jobs, unless the profile says how many.
_HEADROOM_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayPlan:
    """Runs that one array executes, and what each of them asks for."""

    runs: tuple[int, ...]
    keys: LaunchKeys


class Portions(NamedTuple):
    """Arrays to submit now, in order, and how many runs have to wait."""

    arrays: list[ArrayPlan]
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitRoom:
    """What Slurm will take of this user now.

    :param array_tasks: runs that one array may have
    :param max_submit: jobs or array elements that the user may have with Slurm; None if nothing limits them
    :param submitted: that the user has there now, without the keepers of this sweep
    :param headroom: of ``max_submit`` that is left for other jobs; None for a share of it
    """

    array_tasks: int
    max_submit: int | None = None
    submitted: int = 0
    headroom: int | None = None

    @property
    def usable(self) -> int | None:
        """Elements that our arrays may have with Slurm at once; at least one, or nothing would ever run."""
        if self.max_submit is None:
            return None
        share = max(1, round(self.max_submit * _HEADROOM_SHARE))
        left = self.max_submit - KEEPERS - (share if self.headroom is None else self.headroom)
        return max(1, left)

    @property
    def free(self) -> int | None:
        """Elements that may be submitted now; None is without limit."""
        return None if self.usable is None else max(0, self.usable - self.submitted)


def portions(runs: Mapping[int, LaunchKeys], room: SubmitRoom, *, alone: bool) -> Portions:
    """What of the runs to submit now, and in which arrays.

    If not all fit, no array takes more than half of what is usable: while one is worked on the next one waits, and
    when the first is over there is room for a third. Where less is free, a smaller array is worth it only if it is
    not much smaller, or if nothing else would bring somebody back to submit the rest. Then one run is tried even
    where nothing seems free: waiting for room does not make any, and Slurm has the last word. Where arrays are
    small there are many: those for whose keepers no room is set aside leave some for them.

    :param runs: run -> what it asks for
    :param alone: no array of the sweep is with Slurm
    """
    groups = grouped(runs)
    total = sum(len(group.runs) for group in groups)
    size = _array_size(groups, room)
    chosen: list[ArrayPlan] = []
    left = total if room.free is None else max(room.free, int(alone))
    for group in groups:
        rest = group.runs
        while rest:
            # What Slurm takes without limit needs no room for keepers.
            fits = left if room.free is None else left - int(len(chosen) >= _KEPT_ARRAYS)
            is_worth_it = fits >= min(size, len(rest)) or 2 * fits >= size or (alone and not chosen)
            if fits < 1 or not is_worth_it:
                break
            some = rest[: min(size, fits)]
            chosen.append(ArrayPlan(runs=some, keys=group.keys))
            rest = rest[len(some) :]
            left = fits - len(some)
        if rest:
            break
    return Portions(arrays=chosen, waiting=total - sum(len(portion.runs) for portion in chosen))


def _array_size(groups: Iterable[ArrayPlan], room: SubmitRoom) -> int:
    """Runs that an array of these may have; each after the second has a keeper of its own to be reckoned with."""
    size = room.array_tasks
    arrays = sum(-(-len(group.runs) // size) for group in groups)
    needed = sum(len(group.runs) for group in groups) + max(0, arrays - _KEPT_ARRAYS)
    if room.usable is not None and room.free is not None and needed > room.free:
        size = min(size, (room.usable + 1) // 2)  # rounded up, or there would be a third array
    return size


def grouped(runs: Mapping[int, LaunchKeys]) -> list[ArrayPlan]:
    """Runs that ask for the same, together; groups and runs in the order of their first."""
    groups: dict[LaunchKeys, list[int]] = {}
    for run, keys in runs.items():
        groups.setdefault(keys, []).append(run)
    return [ArrayPlan(runs=tuple(members), keys=keys) for keys, members in groups.items()]
