"""One look at the queue, and the limits that follow from it.

At every moment, whatever dies between two steps, the sum over all arrays of what Slurm may run and of what does run
is within the capacity: limits are lowered first, what really runs is looked at, and only then is another one raised
or released. What Slurm may do is written down before it is told, so that who comes next knows at least that much.

A user who changes a throttle or releases an array by Slurm's own commands is put back as soon as it shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from hpcorch.errors import NotFoundError, SlurmUnavailableError
from hpcorch.journal.files import Confirm
from hpcorch.resources.shares import Claim, lowered, raised, too_large
from hpcorch.services.throttling.queue_view import QueueView, by_user, claim, observed, queue_views
from hpcorch.services.throttling.state import TAG, Entry, State, parse_tag, read_state, write_state
from hpcorch.slurm.array_elements import elements_of
from hpcorch.slurm.protocol import SlurmClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An array whose limit was changed; 0 means held."""

    array: str
    sweep: str
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RebalanceResult:
    """What came of one call.

    :param looked: whether this process looked; otherwise another one does, or will
    :param running: array -> elements that run
    :param waiting: array -> elements that would start if there were room
    :param completing: elements that clean up, and whose share is nobody's yet
    :param over: arrays that are over, and forgotten
    :param unclear: arrays found in the queue of which nobody knows whether their user holds them; they stay held
    :param too_large: (array, resource) where one element takes more than there is, so that it never starts
    :param troubles: what Slurm refused to do for single arrays; it is tried again by whoever comes next
    """

    looked: bool = False
    changes: tuple[Change, ...] = ()
    running: Mapping[str, int] | None = None
    waiting: Mapping[str, int] | None = None
    completing: int = 0
    over: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    too_large: tuple[tuple[str, str], ...] = ()
    troubles: tuple[SlurmUnavailableError, ...] = ()


@dataclass(slots=True)
class Turn:
    """One look and what follows from it. Its caller has the lock.

    :param path: the file with what is known
    :param confirm: of the lock
    """

    path: Path
    confirm: Confirm
    client: SlurmClient
    now: float = field(default=0.0, init=False)
    state: State = field(default_factory=State, init=False)
    views: Mapping[str, QueueView] = field(default_factory=dict, init=False)
    changes: list[Change] = field(default_factory=list, init=False)
    over: list[str] = field(default_factory=list, init=False)
    troubles: list[SlurmUnavailableError] = field(default_factory=list, init=False)

    def take(self, capacities: Mapping[str, int]) -> RebalanceResult:
        """Look, and bring every limit to what it should be as far as that is safe.

        :param capacities: resource -> units; of resources that it lacks the last known count
        :raises SlurmUnavailableError: Slurm does not answer; no limit is higher than written down
        :raises UnavailableError: the file cannot be read or written; nothing more was raised
        """
        self.state = read_state(self.path, set_aside=self.confirm)
        self._write(replace(self.state, capacities={**self.state.capacities, **capacities}))
        if not self.state.complete:
            self._find()
        self._look()
        if lower := lowered(self._claims(), self.state.limits):
            self._lower(lower)
            if raised(self._claims(), self.state.limits):
                self._look()
        claims = self._claims()
        self._raise(raised(claims, self.state.limits))
        return self._result(claims)

    def _write(self, state: State) -> None:
        if state != self.state:
            write_state(self.path, state, self.confirm)
            self.state = state

    def _find(self) -> None:
        """Take in the arrays in the queue that the file should have, and lacks since it was lost."""
        now = datetime.now(timezone.utc)
        missing = [one for one in self.client.find_token(TAG, now) if one not in self.state.entries]
        rows = self.client.queue(missing)
        comments = {row.array_job_id: row.comment for row in rows}
        blank = {job_id: _blank(job_id, comment) for job_id, comment in comments.items()}
        entries = {job_id: entry for job_id, entry in blank.items() if entry is not None}
        found = [
            replace(entries[array], limit=len(view.alive), uncertain=True, kept=view.held)
            for array, view in queue_views(entries, rows).items()
        ]
        self._write(replace(self.state.with_entries(*found), complete=True))

    def _look(self) -> None:
        self.now = time.time()
        self.views = queue_views(self.state.entries, self.client.queue(self.state.entries))
        self.over += [array for array in self.state.entries if array not in self.views]
        entries = {
            array: observed(self.state.entries[array], view, now=self.now) for array, view in self.views.items()
        }
        self._write(replace(self.state, entries=entries))

    def _claims(self) -> list[Claim]:
        """What each array could use. If none waits, those whose time is to come are let out, and wait with Slurm.

        Held by us, they would need somebody who comes by then; there may be nobody.
        """
        claims = self._claims_of_now(early=False)
        return claims if any(one.want > one.running for one in claims) else self._claims_of_now(early=True)

    def _claims_of_now(self, *, early: bool) -> list[Claim]:
        return [
            claim(entry, self.views[entry.job_id], now=self.now, early=early)
            for entry in self.state.queue
            if entry.job_id in self.views
        ]

    def _lower(self, limits: Mapping[str, int]) -> None:
        self._write(
            self.state.with_entries(*(self._to_be_lowered(array, limit) for array, limit in limits.items()))
        )
        done = []
        for array, limit in limits.items():
            entry = self.state.entries[array]
            if self._told(self._tell_lower, entry, limit):
                done.append(self._was_lowered(entry, limit))
        self._write(self.state.with_entries(*done))

    def _to_be_lowered(self, array: str, limit: int) -> Entry:
        entry = self.state.entries[array]
        if limit:
            return replace(entry, uncertain=True)
        return replace(entry, uncertain=True, held=True, kept=by_user(entry, self.views[array]))

    def _tell_lower(self, entry: Entry, limit: int) -> None:
        if limit:
            self.client.update_throttle(entry.job_id, limit)
        else:
            self.client.hold([entry.job_id])

    def _was_lowered(self, entry: Entry, limit: int) -> Entry:
        self._note(entry, limit)
        if not limit:
            return replace(entry, limit=0, uncertain=False)
        # One that may be held still has to be released.
        return replace(entry, limit=limit, throttle=limit, uncertain=entry.held)

    def _raise(self, limits: Mapping[str, int]) -> None:
        before = self.state.entries
        self._write(
            self.state.with_entries(
                *(replace(before[array], limit=limit, uncertain=True) for array, limit in limits.items())
            )
        )
        done = []
        for array, limit in limits.items():
            entry = before[array]
            if self._told(self._tell_higher, entry, limit):
                self._note(entry, limit)
                done.append(
                    replace(entry, limit=limit, throttle=limit, uncertain=False, held=False, kept=(), found=False)
                )
        self._write(self.state.with_entries(*done))

    def _tell_higher(self, entry: Entry, limit: int) -> None:
        if entry.uncertain or entry.throttle != limit:
            self.client.update_throttle(entry.job_id, limit)
        if entry.held and entry.kept:
            ours = set(self.views[entry.job_id].alive) - set(entry.kept)
            self.client.release([elements_of(entry.job_id, ours)] if ours else [])
        elif entry.held:
            self.client.release([entry.job_id])

    def _told(self, tell: Callable[[Entry, int], None], entry: Entry, limit: int) -> bool:
        """Whether Slurm was told. One refusal may be about one array; after two, nobody seems to be there.

        :raises SlurmUnavailableError: the second time
        """
        try:
            tell(entry, limit)
        except NotFoundError:
            return True  # it is over, which the next rebalance sees
        except SlurmUnavailableError as error:
            if self.troubles:
                raise
            self.troubles.append(error)
            return False
        return True

    def _note(self, entry: Entry, limit: int) -> None:
        if entry.limit != limit:
            self.changes.append(
                Change(array=entry.job_id, sweep=entry.sweep, before=entry.limit, after=limit),
            )

    def _result(self, claims: Sequence[Claim]) -> RebalanceResult:
        return RebalanceResult(
            looked=True,
            changes=tuple(self.changes),
            running={claim.array: claim.running for claim in claims},
            waiting={claim.array: max(0, claim.want - claim.running) for claim in claims},
            completing=sum(claim.completing for claim in claims),
            over=tuple(self.over),
            unclear=tuple(one.job_id for one in self.state.queue if one.found and one.kept),
            too_large=tuple(too_large(claims, self.state.limits)),
            troubles=tuple(self.troubles),
        )


def _blank(job_id: str, comment: str) -> Entry | None:
    """What a throttled array's comment says of it; None if it is none."""
    parsed = parse_tag(comment)
    if parsed is None:
        return None
    units, bound = parsed
    return Entry(
        job_id=job_id, sweep=f"array {job_id}", directory="", submission=0, units=units, bound=bound, found=True
    )
