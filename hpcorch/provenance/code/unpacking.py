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
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import RecordError, UnavailableError
from hpcorch.journal.access import make_folder, open_new
from hpcorch.provenance.code.signature import is_signed
from hpcorch.quick_dataclasses import dataclass

_DAY_S = 86_400
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackedCode:
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


def unpack(archive: Path, digest: str, base: Path) -> UnpackedCode:
    """Unpack a code state on this node, with every content compared with its digest.

    What another task unpacked is used, after a cheap look that nothing in it was touched since. If something was,
    the rest is compared too, what differs is reported, and the code state is unpacked again.

    :param archive: read only if the code state is not on the node yet, or was touched
    :param base: a folder of this user on the node's own disk, made if it does not exist
    :raises DriftError: the archive is not what was frozen, and in what
    :raises RecordError: there is no archive
    :raises UnavailableError: the archive cannot be read, or nothing can be written here
    """
    if not _DIGEST.fullmatch(digest):
        raise RecordError(f"{digest!r} is not the digest of a snapshot")
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
    return UnpackedCode(tree=base / digest / "tree", repaired=repaired, lock=use)


def remove_unused(base: Path, *, days: float) -> list[str]:
    """Remove code states that were not used for a time, and unfinished ones. None in use is touched.

    :return: the digests of those removed
    """
    before = time.time() - days * _DAY_S
    try:
        with os.scandir(base) as found:
            old = [one.name for one in found if _is_lock(one.name) and one.stat().st_mtime < before]
    except OSError:
        return []
    return [name.removesuffix(".use") for name in sorted(old) if _remove_one(base, base / name, before)]


def _is_lock(name: str) -> bool:
    digest, dot, kind = name.partition(".")
    return dot + kind == ".use" and _DIGEST.fullmatch(digest) is not None


def _remove_one(base: Path, lock: Path, before: float) -> bool:
    with contextlib.suppress(OSError):
        if lock.stat().st_mtime >= before:
            return False
        from hpcorch.provenance.code.extraction import remove  # seldom

        use = take(lock, shared=False, wait_s=0)
        if use is None:
            return False
        try:
            remove(base, lock.stem)
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
        from hpcorch.provenance.code.extraction import extract  # once on a node

        return extract(archive, digest, base)


@contextmanager
def _making(base: Path, digest: str) -> Iterator[None]:
    lock = take(base / f"{digest}.make", shared=False, wait_s=tunables.UNPACKING_WAIT_S)
    if lock is None:
        raise _busy(base, digest)
    try:
        yield
    finally:
        os.close(lock)


def _own_folder(base: Path) -> None:
    """Make the folder. Where anybody may write, as in /tmp, another user may have been there first."""
    with contextlib.suppress(FileExistsError):
        make_folder(base, exist_ok=False)
    if not _is_private(base):
        raise UnavailableError(
            f"the snapshot of the code is not unpacked below {base}, because others could change it there: it has"
            " to be a folder of your own that only you can write to. Remove it, or name another one"
        )


def _is_private(folder: Path) -> bool:
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def folder_beside(base: Path) -> Path | None:
    """A private folder to unpack in where somebody else has taken the name of the usual one.

    :return: the one that was made the last time, or a new one; None if the name is not taken, or there can be none
    """
    try:
        if _is_private(base):
            return None
        with os.scandir(base.parent) as found:
            beside = sorted(Path(one.path) for one in found if one.name.startswith(f"{base.name}."))
        if mine := [folder for folder in beside if _is_private(folder)]:
            return mine[0]
        from tempfile import mkdtemp  # seldom

        return Path(mkdtemp(prefix=f"{base.name}.", dir=base.parent))
    except OSError:
        return None


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
        descriptor = open_new(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
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
