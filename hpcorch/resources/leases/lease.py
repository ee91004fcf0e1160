"""Leases: a counting semaphore over users and nodes for a phase of a run, made of files, without server or flock.

1.  Draw: create a ticket named (highest number seen + 1, random token), then list twice. The place is certain only
    if both listings show it above all others, and within SCAN_S of the draw; otherwise end it and draw anew.
2.  Served: once the counts of one's own and all earlier tickets, waiting or held, fit the capacity. Earlier tickets
    only become fewer (by 1 and 6 none appears before a certain one), so an outdated listing errs towards waiting.
3.  So nobody is overtaken, slots are taken all at once, and nothing is taken over, hence no race for a dead one's.
4.  Owners touch their tickets: holders every sixth of the expiry, others twice as often. By the server's clock (of
    an own ticket, just touched) others count one as gone 3/4 of the expiry after its last touch.
5.  An owner whose touches failed for 7/12, by a steady clock and from before a touch, has lost its ticket for good:
    earlier than anybody goes past it, whether it was stopped, suspended or cut off, and whenever it wakes up.
6.  Ended tickets stay as names. A name is removed only below another that has stood for SETTLE_S, twice SCAN_S: so
    the highest of all when two listings start is in one of them, also while it is renamed, and numbers only grow.
7.  A name is never used again, so a late removal hits no successor. A ticket that somebody removed is lost.
8.  A forked child has no heartbeat and gives nothing back: the lease stays its parent's.
9.  Cost of waiting at an expiry of 60 s: every 2.5 to 5 s a listing, a touch and a stat of the nearest earlier
    tickets, at most two capacities of them; right after something moved, up to 20 listings a second of the first.
10. A listing must show what was made before it started. Times may be wrong by a sixth of the expiry together: whole
    seconds on some servers, and the skew between hosts on Lustre, which stamps with its clients' clocks.

filelock's SoftFileLease is not the slot: after a stop of any length it goes on as the holder if nobody came, and it
takes over only by exchanging two names, which NFS refuses: the slots of the dead would never come back there.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from hpcorch.errors import HpcorchError, LeaseLostError, UnavailableError, UsageError
from hpcorch.journal.files import steady
from hpcorch.model.events import LeaseReported
from hpcorch.quick_dataclasses import dataclass
from hpcorch.resources.leases.claim import DICE, Claim
from hpcorch.resources.leases.tickets import Ticket, pause_s, shortage
from hpcorch.users import own_name


class LeaseStage(Enum):
    """What became of a lease."""

    WAITING = "waiting"
    HELD = "held"
    RELEASED = "released"
    LOST = "lost"
    OVER_HELD = "over-held"  # its block ended after it was lost


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseNews:
    """One change, as told to the observer.

    :param number: the ticket's number; lower ones are served before
    :param ahead: slots that those ahead hold or wait for (WAITING)
    :param seconds: waited (HELD), held (RELEASED), without a sign of life (LOST), held after the loss (OVER_HELD)
    """

    stage: LeaseStage
    resource: str
    count: int
    number: int
    ahead: int = 0
    seconds: float = 0.0

    def as_fact(self) -> LeaseReported:
        """As a journal has it."""
        return LeaseReported(
            stage=self.stage.value,
            resource=self.resource,
            count=self.count,
            number=self.number,
            ahead=self.ahead,
            seconds=round(self.seconds, 3),
        )


def _ignore(_news: LeaseNews) -> None:
    """For those who want no news."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases:
    """The leases of one resource.

    :param resource: its name in the site profile
    :param directory: where the tickets are; all who share the resource must be able to write there
    :param capacity: slots there are
    :param expiry_s: seconds without a sign of life after which a holder's slots are free again
    :param run: what the run is called, for those who look
    :param observer: told what becomes of each lease, in the thread that asked for it
    """

    resource: str
    directory: Path
    capacity: int
    expiry_s: float
    run: str | None = None
    observer: Callable[[LeaseNews], None] = _ignore

    @contextmanager
    def hold(self, count: int = 1) -> Iterator[Lease]:
        """Wait for slots, hold them within the block, give them back however it ends.

        :raises UsageError: the count is no whole number that fits the capacity, or the directory cannot be used
        :raises UnavailableError: the file system does not answer
        :raises LeaseLostError: at the block's end, unless that raises something else: the lease was lost before
        """
        if type(count) is not int or not 1 <= count <= self.capacity:
            raise UsageError(
                f"{count!r} slots of {self.resource} cannot be leased at once: ask for 1 to {self.capacity},"
                " a whole number; that is its capacity in the site profile"
            )
        lease = Lease(self, count)
        try:
            lease.wait()
            yield lease
            lease.check()
        finally:
            try:
                lease.release()
            finally:
                lease.release()  # a signal's exception may have cut the first one short

    def claim(self, count: int) -> Claim:
        """A claim on slots, without a ticket yet."""
        expiry_ms = round(self.expiry_s * 1000)
        form = Ticket(
            resource=self.resource, number=0, count=count, capacity=self.capacity, expiry_ms=expiry_ms, token=""
        )
        owner = {"user": own_name(), "host": socket.gethostname(), "pid": os.getpid(), "run": self.run}
        return Claim(self.directory, form, owner)

    def refusal(self, error: OSError) -> HpcorchError:
        """What to tell a user whose ticket cannot be written."""
        what = f"cannot lease {self.resource} in {self.directory} ({error.strerror})"
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return UsageError(
                f"{what}: make the folder where all nodes see it, `mkdir {self.directory}`, then"
                f" `chgrp GROUP {self.directory}` and `chmod 2770 {self.directory}` for the group that shares it,"
                " or correct `directory` in the site profile"
            )
        if isinstance(error, PermissionError):
            return UsageError(
                f"{what}: its owner can let your group in with `chgrp GROUP {self.directory}` and"
                f" `chmod 2770 {self.directory}`"
            )
        return UnavailableError(f"{what}: check that it is mounted read-write and not full, and try again")


class Lease:
    """Slots for one block; to be had from :meth:`Leases.hold`."""

    def __init__(self, leases: Leases, count: int) -> None:
        self._leases = leases
        self._count = count
        self._claim = leases.claim(count)
        self._since = steady()
        self._held = False
        self._told_lost = False
        self._told_end = False

    def check(self) -> None:
        """Return if the lease is held, or was until it was released.

        :raises LeaseLostError: it was lost; or this is a forked child, which has none
        """
        if not self._claim.is_ours:
            raise LeaseLostError(
                f"the lease of {self._leases.resource} is held by the process that this one was forked from, not by"
                " this one: use what it protects there, or take a lease of your own"
            )
        if self._claim.is_lost:
            self._tell_lost()
            raise LeaseLostError(
                f"the lease of {self._leases.resource} was lost, and others may have used it meanwhile: this"
                f" process was stopped or suspended, or could not reach its ticket in {self._leases.directory}, for"
                f" over {self._claim.ticket.lost_after_s:g} s; do this phase again, and if it happens often, set a"
                f" longer `expiry_s` in the site profile (now {self._leases.expiry_s:g})"
            )

    def release(self) -> None:
        """Give the slots back. Harmless a second time, after a loss and in a forked child."""
        self._claim.end()
        if not self._held or self._told_end or not self._claim.is_ours:
            return
        self._told_end = True
        if self._claim.lost_at is None:
            self._tell(LeaseStage.RELEASED, seconds=steady() - self._since)
        else:
            self._tell_lost()
            self._tell(LeaseStage.OVER_HELD, seconds=steady() - self._claim.lost_at)

    def wait(self) -> None:
        """Queue up until served. Called once, by :meth:`Leases.hold`."""
        self._draw()
        while not self._is_served():  # it was lost while waiting, nothing was used: queue up again
            self._claim.end()
            self._claim = self._leases.claim(self._count)
            self._draw()
        waited_s, self._since = steady() - self._since, steady()
        self._held = True
        self._tell(LeaseStage.HELD, seconds=waited_s)

    def _draw(self) -> None:
        try:
            self._claim.draw()
        except OSError as error:
            raise self._leases.refusal(error) from error

    def _is_served(self) -> bool:
        """Wait for the place's turn; False if the place was lost."""
        before, quiet, told = self._claim.ahead(), 0, False
        while (short := shortage(self._claim.ticket, before)) > 0:
            if not told:
                self._tell(LeaseStage.WAITING, ahead=sum(ticket.count for ticket in before))
                told = True
            time.sleep(pause_s(self._claim.ticket, short, quiet, DICE.random()))
            now = self._claim.ahead()
            if self._claim.is_lost:
                return False
            quiet = quiet + 1 if now == before else 0
            before = now
        return self._claim.keep()

    def _tell_lost(self) -> None:
        if not self._told_lost:
            self._told_lost = True
            self._tell(LeaseStage.LOST, seconds=steady() - self._claim.alive_at)

    def _tell(self, stage: LeaseStage, *, ahead: int = 0, seconds: float = 0.0) -> None:
        self._leases.observer(
            LeaseNews(
                stage=stage,
                resource=self._leases.resource,
                count=self._count,
                number=self._claim.ticket.number,
                ahead=ahead,
                seconds=seconds,
            )
        )
