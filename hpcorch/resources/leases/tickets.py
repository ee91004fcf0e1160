"""Tickets of a lease: their names, their order, and what follows from a listing of them. Pure; see lease.py."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from hpcorch import tunables
from hpcorch.quick_dataclasses import dataclass

# A holder cut off for this share of its expiry knows that it lost its lease, well before others may go past it.
_LOST: Final = 7 / 12
_PASSED: Final = 9 / 12
_BEAT: Final = 1 / 6
_POLL: Final = 1 / 12
# A name is removed once another has stood above it for this long; a scan that took half of that is not trusted.
SETTLE_S: Final = 10.0
SCAN_S: Final = SETTLE_S / 2

_NAME: Final = re.compile(r"(.+)\.(\d{12})\.(\d+)of(\d+)\.(\d+)ms\.([0-9a-f]{16})(\.ended)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One place in the queue; its name in the directory says all of it.

    :param resource: what the slots are of; one directory may have the queues of several
    :param number: lower ones are served before; no two certain places have the same
    :param count: slots that it takes at once
    :param capacity: slots there are, as its owner's profile says
    :param expiry_ms: milliseconds without a sign of life after which its slots are certainly free
    :param token: 16 hexadecimal digits, unlike any other ticket's
    :param ended: given back; such a name only keeps its number from being drawn again
    """

    resource: str
    number: int
    count: int
    capacity: int
    expiry_ms: int
    token: str
    ended: bool = False

    @classmethod
    def parse(cls, name: str) -> Ticket | None:
        """The ticket of that name; None if it is another file's."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        number, count, capacity, expiry_ms = map(int, found.groups()[1:5])
        return cls(
            resource=found[1],
            number=number,
            count=count,
            capacity=capacity,
            expiry_ms=expiry_ms,
            token=found[6],
            ended=found[7] is not None,
        )

    @property
    def name(self) -> str:
        """Its file while it waits or holds."""
        return f"{self.resource}.{self.number:012d}.{self.count}of{self.capacity}.{self.expiry_ms}ms.{self.token}"

    @property
    def ended_name(self) -> str:
        """Its file once it was given back."""
        return f"{self.name}.ended"

    @property
    def lost_after_s(self) -> float:
        """Seconds without a sign of life after which its owner no longer holds it."""
        return self.expiry_ms / 1000 * _LOST

    @property
    def passed_after_s(self) -> float:
        """Seconds without a sign of life after which others count it as gone."""
        return self.expiry_ms / 1000 * _PASSED

    @property
    def beat_s(self) -> float:
        """Seconds between two signs of life of a holder."""
        return self.expiry_ms / 1000 * _BEAT

    @property
    def poll_s(self) -> float:
        """Most seconds between two looks of a waiting one, so that what was passed is served within the expiry."""
        return self.expiry_ms / 1000 * _POLL


def next_number(seen: Iterable[Ticket]) -> int:
    """The number to draw after what a listing showed."""
    return max((ticket.number for ticket in seen), default=0) + 1


def is_last(mine: Ticket, seen: Collection[Ticket]) -> bool:
    """Whether a listing shows this ticket, and all others have lower numbers: only then is its place certain."""
    return mine in seen and all(ticket.number < mine.number for ticket in seen if ticket != mine)


def ahead_of(mine: Ticket, seen: Iterable[Ticket]) -> list[Ticket]:
    """The tickets that are served before this one and were not given back, in order."""
    earlier = (ticket for ticket in seen if not ticket.ended and ticket.number < mine.number)
    return sorted(earlier, key=lambda ticket: ticket.number)


def shortage(mine: Ticket, ahead: Collection[Ticket]) -> int:
    """How many slots must come free before this ticket is served; none if it is 0 or less.

    All tickets ahead count, the waiting ones too, so nobody is overtaken. The least capacity that one of them names
    applies: after a profile was edited from 8 to 4, who comes later keeps to 4, whatever those ahead still believe.
    """
    capacity = min([mine.capacity, *(ticket.capacity for ticket in ahead)])
    needed = mine.count + sum(ticket.count for ticket in ahead)
    return needed - capacity


def removable(ages: Mapping[Ticket, float]) -> list[Ticket]:
    """Which names can be removed, given the seconds since each one's last sign of life or end.

    What is over and below a name that has stood for SETTLE_S: so the highest name of all is there for every scan.
    """
    settled = max((ticket.number for ticket, age in ages.items() if age > SETTLE_S), default=0)
    over = (ticket for ticket, age in ages.items() if ticket.ended or age > ticket.passed_after_s)
    return [ticket for ticket in over if ticket.number < settled]


def pause_s(mine: Ticket, short: int, quiet: int, draw: float) -> float:
    """Seconds until the next look: longer for those further behind, and the longer nothing moves.

    :param short: the shortage, at least 1
    :param quiet: looks since something ahead changed
    :param draw: a random number from 0 to 1, so that those who wait do not look at the same moment
    """
    grown = tunables.LEASE_FIRST_PAUSE_S * short * tunables.LEASE_PAUSE_GROWTH ** min(quiet, 40)
    return min(mine.poll_s, grown) * (1 + draw) / 2
