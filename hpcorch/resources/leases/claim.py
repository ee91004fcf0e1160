"""One's own ticket: drawing it, seeing what is ahead, keeping it alive, knowing when it is lost; see lease.py."""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from hpcorch import tunables
from hpcorch.errors import UnavailableError
from hpcorch.journal.files import steady
from hpcorch.resources.leases import ticket_files as files
from hpcorch.resources.leases.tickets import SCAN_S, Ticket, ahead_of, is_last, next_number

# Not the global generator: what a run draws from that one must not depend on how long it waited.
DICE: Final = random.SystemRandom()


class Claim:
    """A place in the queue, from drawing it to giving it back. It belongs to its process, not to forks of it.

    :param form: what the ticket says but for its number and token
    :param owner: what the ticket's file says for those who look
    :ivar ticket: the ticket
    :ivar alive_at: when the last sign of life was begun that arrived, on the steady clock
    :ivar lost_at: when it was lost, if it was
    """

    def __init__(self, directory: Path, form: Ticket, owner: Mapping[str, Any]) -> None:
        self.ticket = form
        self.alive_at = steady()
        self.lost_at: float | None = None
        self._directory = directory
        self._owner = owner
        self._pid = os.getpid()
        self._ending = False
        self._over = Event()
        self._ahead: list[Ticket] = []
        self._gone: set[Ticket] = set()
        self._judge_at = 0.0

    @property
    def is_ours(self) -> bool:
        """Whether this is the process that made it, and not a fork."""
        return os.getpid() == self._pid

    @property
    def is_lost(self) -> bool:
        """Whether others may have been served before it. Stays true once it was true before the release."""
        if self.lost_at is None and not self._ending and steady() - self.alive_at > self.ticket.lost_after_s:
            self.lost_at = self.alive_at + self.ticket.lost_after_s
        return self.lost_at is not None

    def draw(self) -> None:
        """Get a certain place in the queue, and remove obsolete names.

        :raises OSError: the directory cannot be listed or written
        :raises UnavailableError: no place became certain however often it was tried
        """
        for draw in range(1, tunables.LEASE_MAX_DRAWS + 1):
            if self._draw_once():
                return
            self._end_ticket()
            time.sleep(DICE.uniform(0, tunables.LEASE_RETRY_S * 2 ** min(draw, tunables.LEASE_MAX_DOUBLINGS)))
        raise UnavailableError(
            f"cannot join the queue for {self.ticket.resource} in {self._directory} after"
            f" {tunables.LEASE_MAX_DRAWS} tries: listing the folder takes longer than {SCAN_S:g} s or does not"
            " show files just made; check that file system, or choose another `directory` in the site profile"
        )

    def _draw_once(self) -> bool:
        number = next_number(self._scan())
        self.alive_at = steady()
        self.ticket = replace(self.ticket, number=number, token=secrets.token_hex(8))
        files.create(self._directory, self.ticket, self._owner)
        listings = [self._scan(), self._scan()]
        certain = all(is_last(self.ticket, seen) for seen in listings)
        if not certain or steady() - self.alive_at > SCAN_S:
            return False
        self._ahead = ahead_of(self.ticket, listings[1])
        with suppress(OSError):
            files.sweep(self._directory, listings[1], files.touch(self._directory, self.ticket))
        return True

    def _scan(self) -> set[Ticket]:
        return files.scan(self._directory, self.ticket.resource)

    def ahead(self) -> list[Ticket]:
        """The tickets that are served before; the last known ones if the server does not answer."""
        try:
            self._ahead = ahead_of(self.ticket, self._scan())
        except OSError:
            return self._ahead
        self._ahead = [ticket for ticket in self._ahead if ticket not in self._gone]
        if steady() >= self._judge_at:
            self._judge()
        return self._ahead

    def _judge(self) -> None:
        """Give a sign of life, and tell the dead among the nearest to be served by the server's time of it."""
        now = self._beat()
        if now is None:
            return
        self._judge_at = steady() + self.ticket.poll_s / 2
        alive = 0
        for ticket in self._ahead:
            if alive >= tunables.LEASE_CROWD * self.ticket.capacity:
                break
            with suppress(OSError):
                if files.is_gone(self._directory, ticket, now):
                    self._gone.add(ticket)
                    continue
            alive += 1
        self._ahead = [ticket for ticket in self._ahead if ticket not in self._gone]

    def keep(self) -> bool:
        """Note that it is served, and keep it alive from here on; False if it was lost before that."""
        with suppress(OSError):
            files.note_held(self._directory, self.ticket)
        if self.is_lost:
            return False
        Thread(target=self._keep_alive, name=f"hpcorch-lease-{self.ticket.resource}", daemon=True).start()
        return True

    def _keep_alive(self) -> None:
        while not self._over.wait(self.ticket.beat_s) and not self.is_lost:
            self._beat()

    def _beat(self) -> float | None:
        """Give a sign of life, unless it is too late for one; the server's time of it, if it arrived in time."""
        begun = steady()
        if self.is_lost:
            return None
        try:
            now = files.touch(self._directory, self.ticket)
        except FileNotFoundError:
            if not self._ending:
                self.lost_at = begun
            return None
        except OSError:
            return None
        if self.is_lost:  # it arrived too late: others may have gone past before
            return None
        self.alive_at = begun
        return now

    def end(self) -> None:
        """Give it back; it can no longer be lost. Harmless a second time and in a fork.

        If the server does not answer, it is free when it expires.
        """
        if self.is_ours and not self._over.is_set():
            self._settle_loss()
            self._end_ticket()
            self._over.set()

    def _settle_loss(self) -> None:
        if not self.is_lost:
            self._ending = True

    def _end_ticket(self) -> None:
        with suppress(OSError):
            files.end(self._directory, self.ticket)
