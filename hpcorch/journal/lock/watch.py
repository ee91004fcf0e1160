"""Looking at a lock that somebody else holds, until it is free or its holder is dead."""

from __future__ import annotations

import math
import os
from collections.abc import Set
from enum import Enum

from hpcorch import tunables
from hpcorch.journal.files import steady
from hpcorch.journal.lock.files import LockFiles
from hpcorch.journal.lock.holder import Content, Holder, LockState

# Each time the highest number is another one.
_TRIES = 3


class Standing(Enum):
    """How a lock stands."""

    FREE = "free"
    HELD = "held"
    DEAD = "dead"  # its holder will not give it back


class Watch:
    """Looks at a lock that one waits for.

    :param tokens: of what this process holds or is about to hold; it may change
    :ivar number: of the file that is watched; 0 if that is to be found out
    :ivar holder: who made it, as far as is known
    :ivar is_suspicious: whether its holder seems to be dead, and is watched to be sure
    """

    def __init__(self, files: LockFiles, tokens: Set[str]) -> None:
        self.number = 0
        self.holder: Holder | None = None
        self.is_suspicious = False
        self._files = files
        self._tokens = tokens
        self._text: bytes | None = None
        self._since = self._seen = 0.0
        self._asked = -tunables.LOCK_AGE_POLL_S

    def look(self) -> Standing:
        """How it stands now.

        :raises OSError: that cannot be told
        """
        if not self.number:
            self.number = self._files.highest()
        content, written = self._read()
        if not self.number:
            return Standing.FREE
        self.holder = content.holder
        if content.state is LockState.FREE:
            return Standing.FREE
        if content.state is LockState.TORN or (self.holder is not None and self._has_ended(self.holder)):
            return Standing.DEAD
        return Standing.DEAD if self._is_silent(content.text, written) else Standing.HELD

    def _read(self) -> tuple[Content, float]:
        """What the file with the highest number says; nothing if it cannot be read yet, or there is none."""
        for _ in range(_TRIES if self.number else 0):
            try:
                return self._files.read(self.number)
            except FileNotFoundError:  # it was removed, or a network file system remembers that it was not there
                self.number = self._files.highest(fresh=True)
            except PermissionError:  # over NFS 3 and sshfs it may be without its mode yet
                break
        return Content(text=b""), math.inf

    def _has_ended(self, holder: Holder) -> bool:
        """Whether its process is no more, or is this one, which an exception kept from noting that it held it."""
        if holder.is_here and holder.pid == os.getpid():
            return holder.token not in self._tokens
        return holder.has_ended

    def _is_silent(self, text: bytes, written: float) -> bool:
        """Whether there was no sign of life for a lease's time, and none while this process looked on after that.

        If the server did not answer for a while, holders could not write either; so the watch begins anew.
        """
        now = steady()
        if text != self._text or now - self._seen > tunables.LOCK_LEASE_S / 6:
            self._text, self._since = text, now
            self.is_suspicious = False
        self._seen = now
        if not self.is_suspicious and now - self._asked >= tunables.LOCK_AGE_POLL_S:
            self._asked = now
            self.is_suspicious = self._files.age_s(written) > tunables.LOCK_LEASE_S
        watched_s = now - self._since
        # The second, since a server's clock may have been set back.
        return (self.is_suspicious and watched_s >= tunables.LOCK_WATCH_S) or (
            watched_s >= tunables.LOCK_LEASE_S + tunables.LOCK_WATCH_S
        )
