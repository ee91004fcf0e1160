"""Writing files that are either whole or absent after any crash, and that survive a power cut; reading of them."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from hpcorch import tunables
from hpcorch.errors import ForeignFileError
from hpcorch.journal.access import PRIVATE, Access, open_new
from hpcorch.users import is_trusted, name_of

# Returns if the lock that something is done under is still held, and raises otherwise.
Confirm = Callable[[], None]

_NOT_WAITING: Final = os.O_NONBLOCK | os.O_CLOEXEC
_READING: Final = os.O_RDONLY | _NOT_WAITING
_BLOCK_BYTES: Final = 512  # of st_blocks, whatever the file system has (stat(2))


def nothing_to_confirm() -> None:
    """For what no lock guards, since nobody else writes it."""


def sync_directory(folder: Path) -> None:
    """Make names created in a folder durable (POSIX asks for an fsync of the folder itself)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(
    path: Path,
    content: bytes,
    *,
    mode: int | None = None,
    access: Access | None = None,
    confirm: Confirm = nothing_to_confirm,
) -> None:
    """Write a file that readers see either whole or not at all: temporary name, fsync, rename.

    :param mode: of a file that is not hpcorch's own, less what the umask takes away
    :param access: of one of hpcorch's own; as its folder passes on, if None
    :param confirm: of the lock that the file is replaced under, if others replace it, too; who takes that lock over
        calls :func:`remove_temporaries`
    """
    write_parts(path, [content], mode=mode, access=access, confirm=confirm)


def write_parts(
    path: Path,
    parts: Iterable[bytes],
    *,
    mode: int | None = None,
    access: Access | None = None,
    confirm: Confirm = nothing_to_confirm,
) -> None:
    """As :func:`write_whole`, of a content that is made part by part."""
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    flags = os.O_WRONLY | os.O_EXCL
    if mode is None:
        descriptor = open_new(temporary, flags, access=access)
    else:
        descriptor = os.open(temporary, flags | os.O_CREAT, mode)
    try:
        try:
            for some in _joined(parts):
                write_all(descriptor, some)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        confirm()
        try:
            temporary.replace(path)
        except FileNotFoundError:
            confirm()  # who took the lock over has removed it
            raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def remove_temporaries(path: Path) -> None:
    """Remove what was written to replace a file, so that who has not done that yet cannot do it any more.

    Called by who takes over the lock that the file is replaced under. Whoever had it before has found after the
    writing that it had the lock (``confirm`` of :func:`write_whole`), so what it wrote is listed here; and a rename
    of what is not there changes nothing, however late it comes.

    :raises OSError: the folder cannot be read
    """
    server_time(path.parent)  # on a network file system the listing is one of now
    with os.scandir(path.parent) as entries:
        found = [one.name for one in entries if one.name.startswith(f".{path.name}.") and one.name.endswith(".tmp")]
    for name in found:
        path.with_name(name).unlink(missing_ok=True)


def _joined(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Small parts put together, for few writes."""
    some = bytearray()
    for part in parts:
        some += part
        if len(some) >= tunables.READ_BYTES:
            yield bytes(some)
            some.clear()
    yield bytes(some)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write all bytes, going on after short writes."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def undelegated(open_with: Callable[[int], int]) -> int:
    """Open a file that other hosts may change or remove, so that this host's death keeps none of them waiting.

    An NFS server delegates a file to the host that opens it, and lets those wait until it has that back (RFC 8881,
    section 10.4): for a lease's time, 90 s, if that host has died. Linux asks for no delegation where a file
    is opened for direct access (measured with 6.1 over NFS 4.2; who opens one for writing is given one, too). Once
    it is open it is read and written like any other.

    :param open_with: opens it with these flags beside its own, and returns the descriptor
    :raises OSError: as it does
    """
    try:
        descriptor = open_with(os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the file system has no direct access
            raise
        return open_with(0)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_DIRECT)
    return descriptor


def open_undelegated(path: Path | str, flags: int = 0, *, dir_fd: int | None = None) -> int:
    """Open a file such that no server delegates it; see :func:`undelegated`.

    :param flags: more of them; for reading, if they do not say otherwise
    :raises OSError: as :func:`os.open`
    """
    return undelegated(lambda direct: os.open(path, _READING | direct | flags, dir_fd=dir_fd))


def open_regular(path: Path, *, own: bool = False, within: Path | None = None) -> BinaryIO:
    """Open a file for reading that has to be a regular one: for a FIFO of its name one would wait without end.

    :param own: it has to be this user's, too, since what it says is executed
    :param within: the folder of another user's that it has to lie in; no link below that is followed
    :raises OSError: it cannot be opened, is no regular file, or lies elsewhere; or it is another user's, and nearly
        all of it is a hole
    :raises ForeignFileError: it belongs to another user
    """

    def opener(*_: object) -> int:
        return open_undelegated(path) if within is None else _open_within(path, within)

    # The file owns the descriptor from the start, so that a signal which raises in between closes it once.
    file = open(path, "rb", opener=opener)  # noqa: SIM115 - the caller closes it
    try:
        status = check_regular(file.fileno(), path)
        if own and not is_trusted(status.st_uid):
            raise ForeignFileError(
                f"{path} belongs to {name_of(status.st_uid)}: what another user has written is not executed"
            )
        if (within is not None or not is_trusted(status.st_uid)) and _is_hollow(status):
            raise OSError(
                errno.EFBIG, f"it takes little of its {status.st_size} bytes on disk, and is not yours", str(path)
            )
    except BaseException:
        file.close()
        raise
    return file


def check_regular(descriptor: int, path: Path) -> os.stat_result:
    """The status of an open file.

    :raises OSError: it is a FIFO, a device or a folder
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return status


def _is_hollow(status: os.stat_result) -> bool:
    on_disk = status.st_blocks * _BLOCK_BYTES
    return status.st_size > max(tunables.FOREIGN_FILE_BYTES, tunables.FOREIGN_FILE_PACKED * on_disk)


def _open_within(path: Path, folder: Path) -> int:
    """Open a file by way of its folders, one after the other, so that nobody can put a link there meanwhile."""
    *folders, name = Path(os.path.relpath(path, folder)).parts or (os.curdir,)
    if os.pardir in (*folders, name) or name == os.curdir:
        raise OSError(errno.EINVAL, f"it lies outside of {folder}", str(path))
    descriptor = os.open(folder, _READING | os.O_DIRECTORY)
    try:
        for one in folders:
            inner = os.open(one, _READING | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            outer, descriptor = descriptor, inner
            os.close(outer)
        return open_undelegated(name, os.O_NOFOLLOW, dir_fd=descriptor)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            text = "there is a link on the way to it, and links of another user's are not followed"
            raise OSError(errno.ELOOP, text, str(path)) from None
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(descriptor)


def read_regular(path: Path, *, own: bool = False, within: Path | None = None, of_any_size: bool = False) -> bytes:
    """The content of a file that :func:`open_regular` opens.

    :raises OSError: also if it is too large to be held in memory
    """
    with open_regular(path, own=own, within=within) as file:
        if not of_any_size and os.fstat(file.fileno()).st_size > tunables.FOREIGN_FILE_BYTES:
            raise OSError(errno.EFBIG, f"it has more than {tunables.FOREIGN_FILE_BYTES} bytes", str(path))
        return file.read()


def renew(path: Path, confirm: Confirm) -> None:
    """Put a copy in a file's place, so that who still has it open writes into a file that nobody reads any more.

    If there is none, nothing is done.

    :param confirm: of the lock that the file is written under, which was taken over
    :raises OSError: it cannot be read or written
    """
    remove_temporaries(path)
    with suppress(FileNotFoundError):
        write_whole(path, read_regular(path), confirm=confirm)


def is_there(path: Path) -> bool:
    """Whether a file or folder exists. :meth:`Path.exists` says no where it cannot know, from Python 3.14 on.

    :raises OSError: that cannot be seen
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def status_now(path: Path) -> os.stat_result:
    """A file's status as the server has it: a network file system may show an earlier one until the file is opened.

    :raises OSError: it cannot be opened
    """
    with open_regular(path) as file:
        return os.fstat(file.fileno())


def see_anew(path: Path) -> None:
    """Make this host ask the server how large a file is.

    An sshfs that keeps attributes shows an earlier size, and so less of the content, even to who opens the file. A
    change of one's own brings the present ones. What cannot be changed is seen as that file system likes.
    """
    with suppress(OSError):
        os.utime(path, follow_symlinks=False)


def server_time(folder: Path) -> float:
    """The file server's clock, read off a file made for that.

    :raises OSError: the folder cannot be written
    """
    probe = folder / f".clock.{os.urandom(8).hex()}"
    descriptor = open_new(probe, os.O_WRONLY | os.O_EXCL, access=PRIVATE)
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)


def steady() -> float:
    """Seconds on a clock that cannot be set and runs on while this process or the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file from where it stands, up to one that has no end, or is too long to be one."""
    while (line := file.readline(tunables.LINE_BYTES)).endswith(b"\n"):
        yield line
