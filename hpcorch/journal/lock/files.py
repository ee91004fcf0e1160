"""What a lock is on disk: files ``<lock>.<number>``, of which the one with the highest number says how it stands.

Each file is made once, by exclusive creation, and written to by nobody but its maker. So there is no name that two
processes fight for, and a holder that is late, because its host or its network stood still, cannot undo what
happened meanwhile: its file is not the highest any more. flock is not used, since it may be local to a node.

Who waits for a lock looks at its files until it is free or its holder is dead.
"""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Final

from hpcorch import tunables
from hpcorch.journal.access import open_new
from hpcorch.journal.files import open_undelegated, server_time, steady, write_all
from hpcorch.journal.lock.holder import LENGTH, Content, Holder, LockState, content_of

_FULL_OR_FOREIGN: Final = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
_NUMBER: Final = re.compile(r"\d{1,18}", re.ASCII)
_TRIES: Final = 3  # each time the highest number is another one


@contextmanager
def _stale_is_gone() -> Iterator[None]:
    """A file that another host removed while it was looked at is gone, and no trouble."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), error.filename) from error


class LockFiles:
    """The files of one lock.

    :param path: what their names begin with; the folder has to exist
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def numbers(self) -> list[int]:
        """The numbers that a listing shows, in order.

        After a change of one's own to the folder it shows all that was there before, on network file systems, too.
        """
        start = len(self.path.name) + 1
        with os.scandir(self.path.parent) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(f"{self.path.name}.")]
        return sorted(int(name[start:]) for name in names if _NUMBER.fullmatch(name, start))

    def highest(self, *, fresh: bool = False) -> int:
        """The highest number; 0 if there is none.

        :param fresh: change the folder first, so that the listing is none of some time ago
        """
        if fresh:
            server_time(self.path.parent)
        return max(self.numbers(), default=0)

    def is_wanted(self) -> bool:
        """Whether somebody has waited for long; asks the server, since it opens the file."""
        try:
            os.close(open_undelegated(self._wanted, os.O_NOFOLLOW))
        except OSError:
            return False
        return True

    def want(self) -> None:
        """Let others know that one has waited for long, if that can be done."""
        with suppress(OSError):
            os.close(open_new(self._wanted, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC))

    def want_no_more(self) -> None:
        """Others who wait say so again."""
        with suppress(OSError):
            self._wanted.unlink()

    @property
    def _wanted(self) -> Path:
        return self.path.with_name(f"{self.path.name}.wanted")

    def read(self, number: int) -> tuple[Content, float]:
        """What a file says and when it was last written by the server's clock; asks the server, since it opens it.

        :raises FileNotFoundError: it is gone
        """
        with _stale_is_gone():
            descriptor = open_undelegated(self.file(number), os.O_NOFOLLOW)
            try:
                return Content.parse(os.read(descriptor, 2 * LENGTH)), os.fstat(descriptor).st_mtime
            finally:
                os.close(descriptor)

    def create(self, number: int, content: bytes) -> bool:
        """Make a file; False if somebody else has.

        :raises OSError: it cannot be made
        """
        try:
            descriptor = open_new(self.file(number), os.O_WRONLY | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileExistsError:
            return False
        except PermissionError:
            # sshfs says so of a file that exists, and NFS 3 of one that is without its mode yet.
            server_time(self.path.parent)  # raises it again if nothing can be made there
            return False
        try:
            write_all(descriptor, content)
        except BaseException:
            self.remove(number)
            raise
        finally:
            os.close(descriptor)
        return True

    def write(self, number: int, content: bytes) -> None:
        """Write over one's own file.

        :raises FileNotFoundError: it is gone
        """
        with _stale_is_gone():
            descriptor = open_undelegated(self.file(number), os.O_WRONLY | os.O_NOFOLLOW)
            try:
                os.pwrite(descriptor, content, 0)
            finally:
                os.close(descriptor)

    def remove(self, *numbers: int) -> None:
        """Remove files that say nothing any more; what cannot be removed is left to the next one."""
        for number in numbers:
            with suppress(OSError):
                self.file(number).unlink()

    def age_s(self, written: float) -> float:
        """Seconds by the server's clock since then.

        :raises OSError: the folder cannot be written
        """
        return server_time(self.path.parent) - written


def is_full_or_foreign(error: BaseException | None) -> bool:
    """Whether a lock cannot be made because nothing at all can be written there."""
    return isinstance(error, OSError) and error.errno in _FULL_OR_FOREIGN


def leave_behind(path: Path) -> None:
    """Make a lock's first file as a process leaves it that held the lock and died longer than a lease ago.

    :raises OSError: it cannot be made
    """
    files = LockFiles(path)
    files.create(1, content_of(Holder.this_process(), LockState.HELD, beats=0))
    died_at = server_time(path.parent) - 2 * tunables.LOCK_LEASE_S
    os.utime(files.file(1), (died_at, died_at))


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
