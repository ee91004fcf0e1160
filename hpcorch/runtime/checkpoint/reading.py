"""Reading checkpoints: which are there, which of them are whole, and what the newest one holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hpcorch.errors import CheckpointError, ForeignFileError
from hpcorch.journal.files import open_regular
from hpcorch.model.ids import AttemptId
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.checkpoint.file import DamagedError, Trailer, read_trailer, verify
from hpcorch.runtime.checkpoint.framework_files import verify_files
from hpcorch.runtime.checkpoint.names import FILES_SUFFIX, SUFFIX, Found, group


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A checkpoint that was verified and read.

    :param path: of the file
    :param digest: of the whole file
    :param attempt: that saved it
    :param files: the directory of another framework's files, if there are any. Only to be read, and before the next
        save, which may remove it
    :param generators: what :func:`hpcorch.runtime.run.generators.restore` takes
    """

    step: int
    path: Path
    digest: str
    attempt: AttemptId
    state: Any
    files: Path | None
    extras: dict[str, Any]
    generators: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A checkpoint that was skipped, and why."""

    path: Path
    reason: str


class VanishedError(Exception):
    """A checkpoint was removed while it was read."""


def entries(directory: Path) -> list[Path]:
    """What lies in a folder of checkpoints; nothing if there is no folder yet.

    :raises OSError: it cannot be read
    """
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []


def by_age(
    directory: Path, last: tuple[int, int], rejected: list[Rejected], *, like: str | None = None
) -> list[Found]:
    """Checkpoints of attempts up to ``last`` that look whole by their sizes, the newest first.

    :param rejected: takes those that are not
    :param like: stem or file name of the only one that is asked for
    :raises VanishedError: one was removed meanwhile
    """
    ages: list[tuple[tuple[int, int], int, Found]] = []
    for found in group(entries(directory)):
        asked_for = like is None or like in (str(found.name), f"{found.name}{SUFFIX}")
        if found.name.attempt > last or 0 not in found.parts or not asked_for:
            continue
        with passing_over(found, rejected):
            ages.append((found.name.attempt, quick_look(found).sequence, found))
    return [found for *_, found in sorted(ages, key=lambda age: age[:2], reverse=True)]


@contextmanager
def passing_over(found: Found, rejected: list[Rejected]) -> Iterator[None]:
    """If the block finds a checkpoint broken, note it in ``rejected`` and go on after the block.

    :raises VanishedError: it is no longer there
    """
    try:
        yield
    except (DamagedError, OSError) as error:
        path = found.parts[0]
        if not path.exists():
            raise VanishedError from error
        reason = str(error) if isinstance(error, DamagedError) else f"it cannot be read ({error})"
        rejected.append(Rejected(path=path, reason=reason))


def quick_look(found: Found) -> Trailer:
    """Rank 0's trailer, if all that belongs to the checkpoint is there in the right size.

    :raises DamagedError: it is not
    :raises OSError: something cannot be read
    """
    first = trailer_of(found, 0)
    for rank in range(first.ranks):
        trailer = trailer_of(found, rank) if rank else first
        _check_part(found, first, rank, trailer, digests=False)
    return first


def trailer_of(found: Found, rank: int) -> Trailer:
    """What the part of one rank says of itself.

    :raises DamagedError: it is missing or broken
    :raises OSError: it cannot be read
    """
    with _open(found, rank) as file:
        return read_trailer(file)[0]


def read_checkpoint(found: Found, *, rank: int, ranks: int, own_part_only: bool) -> Restored:
    """Verify a checkpoint by all its digests, then load what one rank saved.

    :param own_part_only: the other ranks' parts have been verified by rank 0
    :raises DamagedError: it is broken
    :raises OSError: something cannot be read
    :raises CheckpointError: it is whole and does not fit this task
    """
    first = trailer_of(found, 0)
    if first.ranks != ranks:
        raise CheckpointError(
            f"the checkpoint {found.parts[0]} was saved by {first.ranks} tasks, and the run has {ranks} now: start"
            f" it with {first.ranks} again"
        )
    for other in () if own_part_only else range(ranks):
        if other != rank:
            with _open(found, other) as file:
                _check_part(found, first, other, verify(file)[0], digests=True)
    with _open(found, rank) as file:
        trailer, digest = verify(file)
        _check_part(found, first, rank, trailer, digests=True)
        file.seek(0)
        content = _unpickle(file, found.parts[rank])
    return Restored(
        step=trailer.step,
        path=found.parts[rank],
        digest=digest,
        attempt=AttemptId.parse(trailer.attempt),
        files=None if trailer.files is None else _files(found, rank),
        **content,
    )


def _open(found: Found, rank: int) -> IO[bytes]:
    if rank not in found.parts:
        raise DamagedError(f"the part of rank {rank} is missing")
    try:
        return open_regular(found.parts[rank], own=True)
    except ForeignFileError as error:
        raise DamagedError(str(error)) from error


def _check_part(found: Found, first: Trailer, rank: int, trailer: Trailer, *, digests: bool) -> None:
    """See that a part is what its name says, and that its files are there.

    :param first: the trailer of rank 0's part
    :raises DamagedError: it is not, or they are not
    """
    attempt = AttemptId.parse(trailer.attempt)
    said = (attempt.submission, attempt.restart, trailer.step, trailer.rank)
    if said != (*found.name.attempt, found.name.step, rank):
        raise DamagedError("it was renamed: its trailer is that of another checkpoint")
    if (trailer.sequence, trailer.ranks) != (first.sequence, first.ranks):
        raise DamagedError(f"the part of rank {rank} is not of the same save")
    if trailer.files is not None:
        verify_files(_files(found, rank), trailer.files, digests=digests)


def _files(found: Found, rank: int) -> Path:
    return found.parts[rank].with_name(found.name.part(rank) + FILES_SUFFIX)


def _unpickle(file: IO[bytes], path: Path) -> dict[str, Any]:
    from hpcorch.runtime.checkpoint.pickling import load

    try:
        content: dict[str, Any] = load(file)
    except Exception as error:
        raise CheckpointError(
            f"the checkpoint {path} is intact, but its content cannot be loaded here ({type(error).__name__}:"
            f" {error}). Bring back the module or class that it needs; or, to begin from scratch, move"
            f" {path.parent} away"
        ) from error
    return content
