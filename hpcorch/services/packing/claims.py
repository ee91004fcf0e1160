"""Which run a packed task executes next.

The tasks of an array take its runs from what is left, so that none idles while another has a queue. A run is taken
by whoever makes the journal of its first attempt, which only one can. Until that attempt has an end the run belongs
to that element of the array, and to no other one, however often Slurm starts it again: the element's list names the
runs that it has begun.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from hpcorch.journal.access import make_folder, open_new
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.events import AttemptClaimed, AttemptEnded
from hpcorch.model.ids import AttemptId
from hpcorch.model.states import AttemptOutcome
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.context.claim import read_attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An attempt that a task is to make.

    :param place: of the run in its submission
    """

    place: int
    attempt: AttemptId


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a packed task is of its array.

    :param runs: of the submission
    :param element: the array index of the task
    :param tasks: how many elements the array has
    :param start: how often Slurm has started the element again
    """

    layout: SweepLayout
    submission: int
    runs: Sequence[int]
    element: int
    tasks: int
    start: int = 0

    @property
    def own(self) -> range:
        """The places of the runs that the task tries first, so that few tasks try the same."""
        runs = len(self.runs)
        return range(self.element * runs // self.tasks, (self.element + 1) * runs // self.tasks)

    def first(self, place: int) -> AttemptId:
        """The first attempt of a run."""
        return AttemptId(run=self.runs[place], submission=self.submission, restart=0)


class Claims:
    """Hands out what a task is to execute, in order: what it had begun, its own share, what others have left.

    :param is_over: whether a run is not to be executed (any more), although it has no end
    """

    def __init__(self, share: Share, is_over: Callable[[AttemptId], bool]) -> None:
        self._share = share
        self._is_over = is_over
        self._seen: set[int] = set()
        self._list = _List(share)
        self._next = chain(self._begun(), self._own(), self._left())

    def next(self) -> Claim | None:
        """What to execute now; None if nothing is left, and nothing ever will be."""
        claim = next(self._next, None)
        if claim is not None:
            self._list.add(claim)
        return claim

    def _begun(self) -> Iterator[Claim]:
        """The runs that an earlier start of this element has begun, and that have no end."""
        for begun in self._list.begun():
            following = self._following(begun)
            if following is not None and not self._is_over(following):
                self._seen.add(begun.place)
                yield Claim(place=begun.place, attempt=following)

    def _following(self, begun: _Begun) -> AttemptId | None:
        """The attempt that goes on with a run; None if another task took it, or if it has an end.

        It is further on by as many restarts as Slurm has started the element again since, so that what Slurm says
        of one start is never about an attempt that a later one makes.
        """
        attempt = replace(self._share.first(begun.place), restart=begun.restart)
        following = replace(attempt, restart=begun.restart + max(1, self._share.start - begun.start))
        facts = [event.fact for event in read_attempt(self._share.layout, attempt)]
        claimed = next((fact for fact in facts if isinstance(fact, AttemptClaimed)), None)
        if claimed is None:
            return following if attempt.restart > 0 else None
        ended = next((fact for fact in facts if isinstance(fact, AttemptEnded)), None)
        is_ours = claimed.array_task == self._share.element
        if not is_ours or (ended is not None and ended.ended_as is not AttemptOutcome.STOPPED):
            return None
        return following

    def _own(self) -> Iterator[Claim]:
        yield from self._unclaimed(self._share.own)

    def _left(self) -> Iterator[Claim]:
        """In any order, or two tasks that have nothing left would try the same."""
        order = random.Random(f"{self._share.submission}.{self._share.element}")  # noqa: S311 - no secret
        while places := self._unclaimed_places():
            order.shuffle(places)
            yield from self._unclaimed(places)

    def _unclaimed(self, places: Sequence[int]) -> Iterator[Claim]:
        for place in places:
            attempt = self._share.first(place)
            if place in self._seen:
                continue
            self._seen.add(place)
            if not self._share.layout.journal(attempt).exists() and not self._is_over(attempt):
                yield Claim(place=place, attempt=attempt)

    def _unclaimed_places(self) -> list[int]:
        """One listing of the journals, instead of a question for each run."""
        names = {entry.name for entry in os.scandir(self._share.layout.journals)}
        rest = (place for place in range(len(self._share.runs)) if place not in self._seen)
        return [place for place in rest if self._share.layout.journal(self._share.first(place)).name not in names]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """A run that an element has begun: its place, the attempt's restart, and the element's start."""

    place: int
    restart: int
    start: int


class _List:
    """The runs that an element has begun to execute: a line of three numbers each, of which the last one counts.

    Written before a run is claimed. It is not synced: what it lacks after a power cut, who tends the sweep sees.
    """

    def __init__(self, share: Share) -> None:
        self._path = share.layout.task_list(share.submission, share.element)
        self._start = share.start
        self._places = len(share.runs)

    def begun(self) -> Collection[_Begun]:
        """What the last line on each run says."""
        try:
            lines = self._path.read_text(encoding="ascii", errors="replace").split("\n")[:-1]
        except FileNotFoundError:
            return ()
        words = (line.split() for line in lines)
        numbers = [tuple(map(int, three)) for three in words if len(three) == 3 and all(map(str.isdecimal, three))]
        last = {place: (restart, start) for place, restart, start in numbers if place < self._places}
        return [_Begun(place=place, restart=restart, start=start) for place, (restart, start) in last.items()]

    def add(self, claim: Claim) -> None:
        """Note that a run is about to be claimed.

        :raises OSError: it cannot be written
        """
        make_folder(self._path.parent)
        descriptor = open_new(self._path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, f"{claim.place} {claim.attempt.restart} {self._start}\n".encode())
        finally:
            os.close(descriptor)
