"""Holding a lock, from the wait for it until it is given back."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from hpcorch import tunables
from hpcorch.errors import UnavailableError
from hpcorch.journal.files import Confirm, see_anew, steady
from hpcorch.journal.lock.files import LockFiles, Standing, Watch
from hpcorch.journal.lock.holder import Holder, LockState, content_of

# A holder that gave no sign of life for this share of the lease looks first whether it still holds the lock.
_DOUBTFUL: Final = 7 / 12

_DICE: Final = random.SystemRandom()  # what a program draws must not depend on how long it waited


class LockLostError(UnavailableError):
    """The lock was taken over while this process held it."""


@contextmanager
def exclusive(
    path: Path,
    *,
    wait_s: float | None = None,
    guards: Sequence[Path] = (),
    renew: Callable[[Confirm], None] | None = None,
) -> Iterator[Hold]:
    """Hold the lock at ``path``. Reentrant within a thread.

    :param wait_s: seconds to wait for another holder, ``LOCK_WAIT_S`` by default; 0 tries once
    :param guards: files that change under the lock: seen as they are, if another host may have changed them
    :param renew: replaces what the lock guards by copies; called first if the holder before did not give it back,
        with :meth:`Hold.confirm`
    :raises UnavailableError: another holder kept it, or the lock cannot be written
    :raises LockLostError: at the end of the block: it was taken over meanwhile, so what was written may be lost
    """
    with _told(path):
        hold = Hold(path)
    if (outer := _HOLDS.get(hold.key)) is not None and outer.thread == hold.thread:
        yield outer
        return
    try:
        with _told(path):
            hold.acquire(tunables.LOCK_WAIT_S if wait_s is None else wait_s)
        if hold.comes_from_elsewhere:
            for file in guards:
                see_anew(file)
        if hold.took_over and renew is not None:
            with hold.torn_on_error():
                renew(hold.confirm)
        yield hold
        hold.release()
    finally:
        with suppress(LockLostError):  # a second time it does nothing
            hold.release()
        _TOKENS.discard(hold.holder.token)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"the lock {path} cannot be written ({error.strerror}): check that the folder is yours, is not full and"
            " is mounted read-write"
        ) from error


# What this process holds, by folder and name; and the tokens of what it holds or is about to hold. What has another
# token of this process was left by an exception in the middle.
_Key = tuple[int, int, str]
_HOLDS: dict[_Key, Hold] = {}
_TOKENS: set[str] = set()
os.register_at_fork(after_in_child=_HOLDS.clear)
os.register_at_fork(after_in_child=_TOKENS.clear)


class Hold:
    """One holding of a lock, from the wait for it until it is given back.

    :ivar key: of the lock, however its path is spelt
    :ivar thread: which thread holds it
    :ivar holder: this process, as others see it
    :ivar took_over: whether the one before has not given it back
    :ivar comes_from_elsewhere: whether the one before may have been on another host
    """

    def __init__(self, path: Path) -> None:
        self.thread = threading.get_ident()
        self.took_over = False
        self.comes_from_elsewhere = True
        folder = path.parent.stat()
        self.key = (folder.st_dev, folder.st_ino, path.name)
        self.holder = Holder.this_process()
        self._files = LockFiles(path)
        self._number: int | None = None
        self._beats = 0
        self._alive_at = 0.0
        self._over = threading.Event()
        self._writing = threading.Lock()
        self._heart = threading.Thread(target=self._keep_alive, name=f"hpcorch-{path.name}", daemon=True)

    def acquire(self, wait_s: float) -> None:
        """Wait for the lock. Called once, by :func:`exclusive`.

        :raises OSError: the lock cannot be written
        :raises UnavailableError: another holder kept it
        """
        _TOKENS.add(self.holder.token)
        waited_s, pause_s, looked = 0.0, tunables.LOCK_FIRST_POLL_S, steady()
        watch, wanted = Watch(self._files, _TOKENS), self._files.is_wanted()
        if wanted and wait_s > 0:  # who has waited goes first
            time.sleep(2 * tunables.LOCK_POLL_S)
        while not self._try(watch):
            # If this process stood still, or the server did, the watch has begun anew, and it needs its time.
            now = steady()
            waited_s, looked = waited_s + min(now - looked, tunables.LOCK_LEASE_S / 6), now
            if waited_s >= wait_s and not watch.is_suspicious:
                raise UnavailableError(self._refusal(watch, wait_s))
            if waited_s >= tunables.LOCK_WANTED_S:
                self._files.want()
                wanted = True
            time.sleep(_DICE.uniform(pause_s / 2, pause_s))
            pause_s = min(2 * pause_s, tunables.LOCK_POLL_S)
        if wanted:
            self._files.want_no_more()
        _HOLDS[self.key] = self
        self._heart.start()

    def _refusal(self, watch: Watch, wait_s: float) -> str:
        holder = "another process" if watch.holder is None else str(watch.holder)
        silent_s = tunables.LOCK_LEASE_S + tunables.LOCK_WATCH_S
        return (
            f"{holder}, holds the lock {self._files.path}, and this process waited {wait_s:g} s for it: try again"
            f" when that one has ended. If it is dead, whoever waits for {silent_s:g} s takes the lock over; if you"
            f" know that, you may also remove {self._files.path}.*"
        )

    def _try(self, watch: Watch) -> bool:
        """Take the lock if it can be taken now."""
        begun = steady()
        standing = watch.look()
        if standing is Standing.HELD:
            return False
        number = watch.number + 1
        if not self._files.create(number, content_of(self.holder, LockState.HELD, beats=0)):
            watch.number = number
            return False
        self._number, self._alive_at = number, begun
        seen = self._files.numbers()
        if seen[-1:] != [number] or (standing is Standing.DEAD and steady() - begun > tunables.LOCK_DECIDED_S):
            self._files.remove(number)
            self._number = None
            watch.number = 0
            return False
        self.took_over = standing is Standing.DEAD
        self.comes_from_elsewhere = watch.holder is None or not watch.holder.is_here
        self._files.remove(*seen[:-1])
        return True

    @contextmanager
    def torn_on_error(self) -> Iterator[None]:
        """Whoever has the lock next renews what it guards, if the block raises something.

        :raises LockLostError: instead of an error that comes from what another process does by now
        """
        try:
            yield
        except BaseException as error:
            if isinstance(error, Exception):
                self.confirm()
            with suppress(LockLostError):
                self.release(LockState.TORN)
            raise

    def confirm(self) -> None:
        """Return if the lock is held now, so that what is done next cannot collide with another holder's doings.

        :raises LockLostError: it was taken over, or that cannot be told
        """
        if steady() - self._alive_at <= tunables.LOCK_LEASE_S * _DOUBTFUL:
            return
        begun = steady()
        try:
            self._beat()
            time.sleep(2 * tunables.LOCK_DECIDED_S)
            if self._files.numbers()[-1:] == [self._number]:
                self._alive_at = begun
                return
        except OSError:
            pass
        raise self._lost()

    def release(self, state: LockState = LockState.FREE) -> None:
        """Give it back. Harmless a second time and in a fork.

        :raises LockLostError: it was taken over before
        """
        if self._number is None or os.getpid() != self.holder.pid:
            return
        number, self._number = self._number, None
        _HOLDS.pop(self.key, None)
        self._over.set()
        if self._heart.is_alive():  # a process that forks should have one thread
            self._heart.join(tunables.LOCK_THREAD_END_S)
        doubtful = steady() - self._alive_at > tunables.LOCK_LEASE_S * _DOUBTFUL
        with self._writing:
            try:
                self._files.write(number, content_of(self.holder, state, beats=self._beats))
                if not doubtful or self._files.numbers()[-1:] == [number]:
                    return
            except FileNotFoundError:
                pass
            except OSError:  # it is free when nobody sees a sign of life any more
                if not doubtful:
                    return
        raise self._lost()

    def _lost(self) -> LockLostError:
        return LockLostError(
            f"the lock {self._files.path} was taken over by another process, since this one gave no sign of life"
            f" for {steady() - self._alive_at:.0f} s (it was stopped, or its file server did not answer): what it"
            " was about to store is not stored; do it again"
        )

    def _keep_alive(self) -> None:
        while not self._over.wait(tunables.LOCK_LEASE_S / 6):
            with suppress(OSError):  # the next one may arrive
                self._beat()

    def _beat(self) -> None:
        begun = steady()
        with self._writing:
            if self._number is None:
                return
            self._beats += 1
            self._files.write(self._number, content_of(self.holder, LockState.HELD, beats=self._beats))
        # Late, it may have come after another's decision: see confirm.
        if begun - self._alive_at <= tunables.LOCK_LEASE_S * _DOUBTFUL:
            self._alive_at = begun
