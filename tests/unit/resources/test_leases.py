"""The order of tickets: in any interleaving of any processes no more slots are held than there are."""

from __future__ import annotations

import itertools
import random
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcorch.errors import UnavailableError, UsageError
from hpcorch.resources.leases.lease import Leases
from hpcorch.resources.leases.tickets import (
    SCAN_S,
    Ticket,
    ahead_of,
    is_last,
    next_number,
    pause_s,
    removable,
    shortage,
)
from tests.support.tuning import Tune

EXPIRY_S = 60.0


def a_ticket(number: int, *, count: int = 1, capacity: int = 8, token: int = 0, ended: bool = False) -> Ticket:
    return Ticket(
        resource="scratch_io",
        number=number,
        count=count,
        capacity=capacity,
        expiry_ms=int(EXPIRY_S * 1000),
        token=f"{token:016x}",
        ended=ended,
    )


some_tickets = st.builds(
    a_ticket,
    st.integers(1, 10**12 - 1),
    count=st.integers(1, 9),
    capacity=st.integers(1, 9),
    token=st.integers(0, 2**64 - 1),
    ended=st.booleans(),
)


@given(some_tickets)
def test_a_ticket_is_what_its_name_says(ticket: Ticket) -> None:
    assert Ticket.parse(ticket.ended_name if ticket.ended else ticket.name) == ticket


@pytest.mark.parametrize("name", ["", ".clock.12ab", "README", "io.17.1of8.60000ms.00", "io.1of8.60000ms.ended"])
def test_other_files_of_the_directory_are_no_tickets(name: str) -> None:
    assert Ticket.parse(name) is None


def test_slots_taken_at_once_are_waited_for_without_being_overtaken_by_small_ones() -> None:
    holder, large, small = a_ticket(1), a_ticket(2, count=8), a_ticket(3)
    assert shortage(large, ahead_of(large, {holder, large, small})) == 1
    assert shortage(small, ahead_of(small, {holder, large, small})) == 2
    assert shortage(large, ahead_of(large, {replace(holder, ended=True), large, small})) == 0


def test_those_who_come_after_a_smaller_capacity_was_set_keep_to_it() -> None:
    before = {a_ticket(number, capacity=8) for number in range(1, 5)}
    edited = a_ticket(5, capacity=4)
    late_with_old_profile = a_ticket(6, capacity=8)
    assert shortage(edited, ahead_of(edited, before)) == 1
    assert shortage(late_with_old_profile, ahead_of(late_with_old_profile, before | {edited})) == 2


def test_a_larger_capacity_lets_more_in_once_those_who_know_the_old_one_are_gone() -> None:
    old, new, another = a_ticket(1, capacity=1), a_ticket(2, capacity=2), a_ticket(3, capacity=2)
    assert shortage(new, [old]) == 1
    assert shortage(another, [new]) == 0


@given(st.integers(1, 500), st.integers(0, 10_000), st.floats(0, 1))
def test_waiting_looks_again_often_enough_to_serve_within_the_expiry(short: int, quiet: int, draw: float) -> None:
    ticket = a_ticket(1)
    assert 0 < pause_s(ticket, short, quiet, draw) <= ticket.poll_s
    assert ticket.beat_s < ticket.lost_after_s < ticket.passed_after_s
    assert ticket.passed_after_s + ticket.poll_s < EXPIRY_S


@given(st.dictionaries(some_tickets, st.floats(0, 1000), min_size=1))
def test_the_highest_name_is_never_removed(ages: dict[Ticket, float]) -> None:
    highest = max(ticket.number for ticket in ages)
    assert all(ticket.number < highest for ticket in removable(ages))


def test_a_directory_that_cannot_be_used_says_what_to_do(tmp_path: Path) -> None:
    leases = Leases(resource="scratch_io", directory=tmp_path / "leases", capacity=2, expiry_s=EXPIRY_S)
    with pytest.raises(UsageError, match="chmod 2770"), leases.hold():
        pass
    assert isinstance(leases.refusal(PermissionError(13, "Permission denied")), UsageError)
    assert isinstance(leases.refusal(OSError(28, "No space left on device")), UnavailableError)


@pytest.mark.parametrize("count", [0, 3, 1.0, True, "1", None])
def test_only_as_many_slots_as_there_are_can_be_asked_for(tmp_path: Path, count: int) -> None:
    leases = Leases(resource="scratch_io", directory=tmp_path, capacity=2, expiry_s=EXPIRY_S)
    with pytest.raises(UsageError, match="ask for 1 to 2"), leases.hold(count):
        pass
    assert list(tmp_path.iterdir()) == []


def test_where_no_place_becomes_certain_it_is_said_after_many_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tune: Tune
) -> None:
    tune(LEASE_MAX_DRAWS=3)
    monkeypatch.setattr(
        "hpcorch.resources.leases.ticket_files.scan", lambda *_: set()
    )  # a listing that lags behind
    leases = Leases(resource="scratch_io", directory=tmp_path, capacity=2, expiry_s=EXPIRY_S)
    with pytest.raises(UnavailableError, match="after 3 tries"), leases.hold():
        pass
    assert [path.name.endswith(".ended") for path in tmp_path.iterdir()] == [True] * 3


Steps = Generator[None, None, None]


@dataclass
class World:
    """A directory, a clock, and processes that do one thing at a time, whenever they get to."""

    capacity: int = 2
    now: float = 1000.0
    stamps: dict[Ticket, float] = field(default_factory=dict)
    alive_at: dict[Ticket, float] = field(default_factory=dict)
    holding: set[Ticket] = field(default_factory=set)
    tokens: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    dice: random.Random = field(default_factory=lambda: random.Random(5))

    def held(self) -> int:
        """Slots of those who, if asked now, would say that they hold them."""
        return sum(ticket.count for ticket in self.holding if not self.is_lost(ticket))

    def is_lost(self, ticket: Ticket) -> bool:
        return self.now - self.alive_at[ticket] > ticket.lost_after_s

    def scan(self) -> Generator[None, None, set[Ticket]]:
        """A listing that takes time: each name has its place, and what is made or ended meanwhile may be missed."""
        found = set()
        for half in (0, 1):
            found |= {ticket for ticket in self.stamps if hash((ticket.token, ticket.ended)) % 2 == half}
            yield
        return found

    def touch(self, ticket: Ticket) -> None:
        if ticket in self.stamps and not self.is_lost(ticket):
            self.stamps[ticket] = self.alive_at[ticket] = self.now

    def end(self, ticket: Ticket) -> None:
        self.holding.discard(ticket)
        if self.stamps.pop(ticket, None) is not None:
            self.stamps[replace(ticket, ended=True)] = self.now

    def is_gone(self, ticket: Ticket) -> bool:
        return ticket not in self.stamps or self.now - self.stamps[ticket] > ticket.passed_after_s

    def draw(self, count: int) -> Generator[None, None, Ticket]:
        while True:
            number = next_number((yield from self.scan()))
            ticket = a_ticket(number, count=count, capacity=self.capacity, token=next(self.tokens))
            self.stamps[ticket] = self.alive_at[ticket] = self.now
            yield
            listings = [(yield from self.scan()), (yield from self.scan())]
            if all(is_last(ticket, seen) for seen in listings) and self.now - self.alive_at[ticket] <= SCAN_S:
                return ticket
            self.end(ticket)
            for _ in range(self.dice.randrange(40)):
                yield

    def sweep(self) -> Steps:
        seen = yield from self.scan()
        ages = {ticket: self.now - self.stamps[ticket] for ticket in seen if ticket in self.stamps}
        yield
        for ticket in removable(ages):
            if ticket.ended or self.is_gone(ticket):
                self.stamps.pop(ticket, None)

    def contend(self, count: int) -> Steps:
        """What one process does: lease after lease."""
        while True:
            ticket = yield from self.draw(count)
            yield from self.sweep()
            while not self.is_lost(ticket):
                seen = yield from self.scan()
                self.touch(ticket)
                yield
                ahead = [other for other in ahead_of(ticket, seen) if not self.is_gone(other)]
                yield
                if shortage(ticket, ahead) <= 0 and not self.is_lost(ticket):
                    self.holding.add(ticket)
                    break
            for _ in range(4):
                yield
                self.touch(ticket)
            self.end(ticket)


# Which process goes on, after how many seconds, for how many steps: of a machine that is quick, slow or stops them.
turns = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([0.0, 0.0, 0.0, 4.0, 11.0, 45.0]),
        st.sampled_from([1, 2, 3, 4, 6, 15, 40]),
    ),
    min_size=10,
    max_size=60,
)


@settings(max_examples=150)
@given(turns, st.integers(1, 2))
def test_no_interleaving_holds_more_slots_than_there_are(
    turns: list[tuple[int, float, int]], capacity: int
) -> None:
    world = World(capacity=capacity)
    processes = [world.contend(count) for count in (1, 1, capacity)]
    for index, seconds, steps in turns:
        world.now += seconds
        for _ in range(steps):
            next(processes[index])
            assert world.held() <= capacity


def test_many_turns_serve_everybody_in_turn() -> None:
    world = World()
    processes = [world.contend(count) for count in (1, 1, 2, 1)]
    served: set[Ticket] = set()
    for _ in range(4000):
        for process in processes:
            world.now += 0.01
            next(process)
            served |= world.holding
    assert {ticket.count for ticket in served} == {1, 2}
    assert len(served) > 100
    assert len(world.stamps) < next(world.tokens) / 2
