"""What one answer of squeue says about throttled arrays. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from hpcorch import tunables
from hpcorch.model.job_states import JobState
from hpcorch.quick_dataclasses import dataclass
from hpcorch.resources.shares import Claim
from hpcorch.services.throttling.state import Entry
from hpcorch.slurm.answers.squeue import QueueRow

HELD: Final = "JobHeldUser"
# Elements that wait for something other than room: their share is of more use to others until then.
_LATER: Final = frozenset({"BeginTime", "Dependency", "DependencyNeverSatisfied", "JobHeldAdmin"})
_LATER_STATES: Final = frozenset(
    {JobState.REQUEUED, JobState.REQUEUE_HOLD, JobState.REQUEUE_FED, JobState.SPECIAL_EXIT, JobState.RESV_DEL_HOLD}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """One array as the queue has it.

    :param running: elements that occupy what they use, for certain or perhaps
    :param completing: elements that clean up
    :param ready: elements that start as soon as there is room
    :param later: elements that wait for something else
    :param held: indices of the waiting elements that are held by their user, be it by us
    :param alive: indices of all elements that are not over
    """

    running: int = 0
    completing: int = 0
    ready: int = 0
    later: int = 0
    held: tuple[int, ...] = ()
    alive: tuple[int, ...] = ()


def queue_views(entries: Mapping[str, Entry], rows: Iterable[QueueRow]) -> dict[str, QueueView]:
    """What the queue has of these arrays; those that are over are absent.

    A job that got the id of an array of ours again, and is another submission's, is not taken for it.
    """
    by_array: dict[str, list[QueueRow]] = {}
    for row in rows:
        entry = entries.get(row.array_job_id)
        if entry is not None and not row.state.is_final and not _is_another(entry, row):
            by_array.setdefault(row.array_job_id, []).append(row)
    return {array: _view(found) for array, found in by_array.items()}


def _is_another(entry: Entry, row: QueueRow) -> bool:
    """Whether a row carries the token of another submission. Some sites rewrite comments."""
    return bool(entry.token) and "hpcorch:" in row.comment and entry.token not in row.comment


def _view(rows: Iterable[QueueRow]) -> QueueView:
    running = completing = ready = later = 0
    held: list[int] = []
    alive: list[int] = []
    for row in rows:
        alive.append(row.index or 0)
        if row.state is JobState.PENDING and row.reason == HELD:
            held.append(row.index or 0)
        elif row.state in _LATER_STATES or (row.state is JobState.PENDING and row.reason in _LATER):
            later += 1
        elif row.state is JobState.PENDING:
            ready += 1
        elif row.state is JobState.COMPLETING:
            completing += 1
        else:
            running += 1
    return QueueView(
        running=running,
        completing=completing,
        ready=ready,
        later=later,
        held=tuple(sorted(held)),
        alive=tuple(sorted(alive)),
    )


def observed(entry: Entry, view: QueueView, *, now: float) -> Entry:
    """An entry, corrected by what was seen.

    Elements that may start although we hold them all were released by somebody else, or are an array that was
    admitted anew: nobody knows their limit, so that all may start until Slurm is told again.
    """
    if entry.held and not entry.limit and view.ready:
        entry = replace(entry, limit=len(view.alive), uncertain=True)
    if entry.held:
        entry = replace(entry, kept=tuple(index for index in entry.kept if index in view.held))
    idle = bool(entry.limit) and bool(view.ready) and view.running + view.completing < entry.limit
    return replace(entry, idle_since=(entry.idle_since or now) if idle else None)


def by_user(entry: Entry, view: QueueView) -> tuple[int, ...]:
    """Indices of the waiting elements that the user holds."""
    return entry.kept if entry.held else view.held


def claim(entry: Entry, view: QueueView, *, now: float, early: bool = False) -> Claim:
    """What an array could use now.

    :param early: let it out before its time to begin, which Slurm keeps
    """
    return Claim(
        array=entry.job_id,
        sweep=entry.sweep,
        units=entry.units,
        want=_want(entry, view, now, early=early),
        limit=entry.limit,
        running=view.running,
        completing=view.completing,
        uncertain=entry.uncertain,
    )


def _want(entry: Entry, view: QueueView, now: float, *, early: bool) -> int:
    ready = view.ready + (len(view.held) - len(entry.kept) if entry.held else 0)
    if entry.begins_at is not None and now < entry.begins_at and not early:
        return view.running
    if entry.idle_since is not None and now - entry.idle_since >= tunables.UNUSED_SHARE_S:
        ready = min(ready, 1)
    if view.later and not ready and not view.running:
        ready = 1  # once held by us, an element would not show when its time has come
    want = view.running + ready
    return want if entry.bound is None else min(want, entry.bound)
