"""Two processes that fight for locks in one folder, each for as long as it can be told whether the locks hold.

Whoever holds a lock reads a number, waits a little and writes the next one. Where two are inside at once, numbers
are lost: in the end there were more turns than the number says. So a lock is judged by what it is for, and not by
the means that it is made of.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from hpcorch import tunables
from hpcorch.errors import UnavailableError
from hpcorch.journal.access import PRIVATE, open_new
from hpcorch.journal.files import write_all
from hpcorch.journal.lock import exclusive, leave_behind
from hpcorch.quick_dataclasses import dataclass


class HeldError(Exception):
    """Somebody else has the lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFight:
    """What one of the two met.

    :param turns: how often it had the lock
    :param waits: how often the other one had it
    :param error: why this kind of lock cannot be had at all
    """

    turns: int = 0
    waits: int = 0
    error: str | None = None


def fight(folder: Path, name: str, other: str, *, seconds: float) -> dict[str, LockFight]:
    """Fight with another process for each kind of lock; by kind, as far as the other one came.

    :param folder: seen by both, private to them
    :param name: of this process; ``other`` is that of the other one
    :param seconds: how long for each kind
    """
    fought: dict[str, LockFight] = {}
    for kind, lock in KINDS.items():
        if not _met(folder, name, other, kind):
            break
        fought[kind] = _round(folder, kind, lock, seconds)
    else:
        fought[TAKEOVER] = _take_over(folder, name, other)
    return fought


def _take_over(folder: Path, name: str, other: str) -> LockFight:
    """Leave a lock as a process that died long ago leaves it, and take over the one that the other left."""
    mine = folder / f"left-by-{name}"
    leave_behind(mine)
    if not _met(folder, name, other, TAKEOVER):
        return LockFight()
    try:
        with exclusive(folder / f"left-by-{other}", wait_s=0) as hold:
            return LockFight(waits=1) if hold.took_over else LockFight(error="it was not there")
    except UnavailableError as error:
        return LockFight(error=str(error))


def counted(folder: Path, kind: str) -> int:
    """The number that was reached in the round of a kind; 0 where two who were inside at once left none."""
    try:
        text = (folder / f"{kind}.number").read_bytes()
    except FileNotFoundError:
        return 0
    return int(text) if text.isdigit() else 0


def refresh(folder: Path, name: str) -> None:
    """Make this host ask the server what is in a folder.

    NFS remembers for up to a minute that a name is not there (nfs(5), ac and lookupcache). A change of one's own
    shows it that others have changed the folder, too.

    :param name: of this process among those who do so
    """
    mark = folder / f".{name}.look"
    mark.touch()
    mark.unlink()


def _round(folder: Path, kind: str, lock: _Lock, seconds: float) -> LockFight:
    turns = waits = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with lock(folder / kind):
                number = counted(folder, kind)
                time.sleep(tunables.LOCK_TRIAL_HELD_S)
                _write_number(folder / f"{kind}.number", number + 1)
                turns += 1
        except HeldError:
            waits += 1
        except OSError as error:
            return LockFight(turns=turns, waits=waits, error=error.strerror or str(error))
        time.sleep(random.uniform(0, tunables.LOCK_TRIAL_PAUSE_S))  # noqa: S311 - jitter, not a secret
    return LockFight(turns=turns, waits=waits)


def _met(folder: Path, name: str, other: str, kind: str) -> bool:
    """Wait until the other one is here, too."""
    (folder / f"{kind}.{name}.here").touch()
    deadline = time.monotonic() + tunables.LOCK_TRIAL_MEETING_S
    while not (folder / f"{kind}.{other}.here").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(tunables.TRIAL_POLL_S)
        refresh(folder, name)
    return True


def _write_number(path: Path, number: int) -> None:
    descriptor = open_new(path, os.O_WRONLY | os.O_TRUNC)
    try:
        write_all(descriptor, str(number).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _tried(lock: BaseFileLock) -> Iterator[None]:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise HeldError from None
    with lock:
        lock.release()
        yield


def _created(path: Path) -> AbstractContextManager[None]:
    """The file exists while the lock is held."""
    return _tried(SoftFileLock(path, mode=PRIVATE.file_mode))


@contextmanager
def _linked(path: Path) -> Iterator[None]:
    """The file is a second name of one's own."""
    own = path.with_name(f"{path.name}.{os.uname().nodename}.{os.getpid()}")
    own.touch()
    try:
        os.link(own, path)
    except FileExistsError:
        raise HeldError from None
    try:
        yield
    finally:
        path.unlink()


@contextmanager
def _leased(path: Path) -> Iterator[None]:
    """As hpcorch locks what hosts share."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(exclusive(path, wait_s=0))
        except UnavailableError as error:
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise HeldError from None
        yield


def _flocked(path: Path) -> AbstractContextManager[None]:
    return _tried(FileLock(path, mode=PRIVATE.file_mode))


@contextmanager
def _recorded(path: Path) -> Iterator[None]:
    descriptor = open_new(path, os.O_RDWR)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # fcntl(2): EAGAIN or EACCES
            raise HeldError from None
        yield
    finally:
        os.close(descriptor)


# What is tried after all kinds: that hpcorch's lock is taken over from a host that died.
TAKEOVER = "takeover"
_Lock = Callable[[Path], AbstractContextManager[None]]
# By what doctor calls them. What hpcorch itself uses between hosts comes first.
KINDS: Mapping[str, _Lock] = {
    "lease": _leased,
    "creation": _created,
    "link": _linked,
    "fcntl": _recorded,
    "flock": _flocked,
}
