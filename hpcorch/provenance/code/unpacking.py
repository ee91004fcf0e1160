"""A code state on a node's own disk, unpacked once for all tasks of a user there.

::

    <base>/<digest>/tree/        the code, read-only
    <base>/<digest>/listing      what it consists of; its SHA-256 is the digest
    <base>/<digest>/signature    how it looked when every content had been compared
    <base>/<digest>.use          locked by whoever uses it, until its process ends
    <base>/<digest>.make         locked by who unpacks it
    <base>/.<digest>.<token>/    not finished; nobody reads it
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import RecordError, UnavailableError
from hpcorch.journal.archives import open_archive
from hpcorch.journal.files import write_whole
from hpcorch.journal.layout import DIR_MODE
from hpcorch.provenance.code.trees import (
    close_folders,
    differences,
    is_signed,
    read_listing,
    remove_tree,
    signature,
    write_entry,
)

_DAY_S = 86_400
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """A code state that this process uses.

    :param tree: the folder that stands for the project's root
    :param repaired: what an earlier unpacking of it had come to differ in, before it was unpacked again
    :param lock: open file that tells others of the use, until it is closed or the process ends
    """

    tree: Path
    repaired: tuple[str, ...]
    lock: int

    def release(self) -> None:
        """Let others remove it. A task keeps it until its process ends."""
        os.close(self.lock)


def unpack(archive: Path, digest: str, base: Path) -> Unpacked:
    """Have a code state on this node, every content compared with its digest.

    What another task unpacked is used, after a cheap look that nothing in it was touched since. If something was,
    the rest is compared too, what differs is reported, and the code state is unpacked again.

    :param archive: read only if the code state is not on the node yet, or was touched
    :param base: a folder of this user on the node's own disk, made if it does not exist
    :raises DriftError: the archive is not what was frozen, and in what
    :raises RecordError: there is no archive
    :raises UnavailableError: the archive cannot be read, or nothing can be written here
    """
    if not _DIGEST.fullmatch(digest):
        raise RecordError(f"{digest!r} is no digest of a snapshot")
    try:
        _own_folder(base)
        use = take(base / f"{digest}.use", shared=True, wait_s=tunables.UNPACKING_WAIT_S)
        if use is None:
            raise _busy(base, digest)
        try:
            os.utime(use)  # when it was used last
            repaired = _present(archive, digest, base)
        except BaseException:
            os.close(use)
            raise
    except OSError as error:
        raise UnavailableError(
            f"the snapshot of the code cannot be unpacked below {base} ({error.strerror}): see that the folder is"
            " on this node's own disk, is yours and has space left, or name another one"
        ) from error
    return Unpacked(tree=base / digest / "tree", repaired=repaired, lock=use)


def verify(base: Path, digest: str) -> list[str]:
    """What an unpacked code state differs in from what was frozen, each as a sentence; every file is read."""
    home = base / digest
    try:
        return differences(home / "tree", read_listing(home / "listing", digest))
    except (OSError, RecordError) as error:
        return [f"its listing cannot be used ({error})"]


def remove_unused(base: Path, *, days: float) -> list[str]:
    """Remove code states that nobody has used for so long, and what nobody finished. None in use is touched.

    :return: the digests of those removed
    """
    if not base.is_dir():
        return []
    before = time.time() - days * _DAY_S
    locks = sorted(path for path in base.glob("*.use") if _DIGEST.fullmatch(path.stem))
    return [path.stem for path in locks if _remove_one(base, path, before)]


def _remove_one(base: Path, lock: Path, before: float) -> bool:
    with contextlib.suppress(OSError):
        if lock.stat().st_mtime >= before:
            return False
        use = take(lock, shared=False, wait_s=0)
        if use is None:
            return False
        try:
            _clear(base, lock.stem)
            remove_tree(base / lock.stem)
            (base / f"{lock.stem}.make").unlink(missing_ok=True)
            lock.unlink()
        finally:
            os.close(use)
        return True
    return False


def _present(archive: Path, digest: str, base: Path) -> tuple[str, ...]:
    home = base / digest
    if is_signed(home / "signature", home / "tree"):
        return ()
    with _making(base, digest):
        if is_signed(home / "signature", home / "tree"):
            return ()
        found = verify(base, digest) if home.exists() else []
        if home.exists() and not found:  # touched or from before a reboot, and yet as frozen
            _sign(home)
            return ()
        _clear(base, digest)
        fresh = base / f".{digest}.{secrets.token_hex(4)}"
        try:
            _write(archive, digest, fresh)
            _put(fresh, home, base)
        finally:
            remove_tree(fresh)
        return tuple(found)


@contextmanager
def _making(base: Path, digest: str) -> Iterator[None]:
    lock = take(base / f"{digest}.make", shared=False, wait_s=tunables.UNPACKING_WAIT_S)
    if lock is None:
        raise _busy(base, digest)
    try:
        yield
    finally:
        os.close(lock)


def _write(archive: Path, digest: str, fresh: Path) -> None:
    reader = open_archive(archive, digest)
    tree = fresh / "tree"
    tree.mkdir(mode=DIR_MODE, parents=True)
    fresh.chmod(DIR_MODE)
    for entry, content in reader.contents():
        write_entry(tree, entry, content)
    close_folders(tree)
    write_whole(fresh / "listing", reader.listing)
    _sign(fresh)


def _sign(home: Path) -> None:
    write_whole(home / "signature", json.dumps(signature(home / "tree")).encode())


def _put(fresh: Path, home: Path, base: Path) -> None:
    """Give an unpacked code state its name; one that is there already goes, what it has open stays open."""
    if home.exists():
        home.rename(base / f"{fresh.name}.old")
    fresh.rename(home)
    remove_tree(base / f"{fresh.name}.old")


def _clear(base: Path, digest: str) -> None:
    """Remove what others began and did not finish: they are dead, for the lock is ours."""
    for left in base.glob(f".{digest}.*"):
        remove_tree(left)


def _own_folder(base: Path) -> None:
    """Make the folder. Where anybody may write, as in /tmp, another user may have been there first."""
    with contextlib.suppress(FileExistsError):
        base.mkdir(mode=DIR_MODE, parents=True)
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise UnavailableError(
            f"the snapshot of the code is not unpacked below {base}, because others could change it there: it has"
            " to be a folder of your own that only you can write to. Remove it, or name another one"
        )


def _busy(base: Path, digest: str) -> UnavailableError:
    return UnavailableError(
        f"another process has been unpacking or removing the snapshot {digest} below {base} for"
        f" {tunables.UNPACKING_WAIT_S:g} s: see whether the file system of the snapshots answers on this node"
    )


def take(path: Path, *, shared: bool, wait_s: float) -> int | None:
    """Lock a file, making it if need be.

    :param wait_s: seconds to wait for others; 0 tries once
    :return: a descriptor that holds the lock until it is closed; None if others kept it
    :raises OSError: the file cannot be made or locked
    """
    deadline = time.monotonic() + wait_s
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(tunables.UNPACKING_POLL_S)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the locked file is still the one of that name: its holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
