"""Saving the checkpoints of one attempt: each has a name of its own, and is complete and durable, or removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcorch.errors import CheckpointError
from hpcorch.journal.access import make_record_folder
from hpcorch.journal.files import sync_directory
from hpcorch.model.ids import AttemptId, utc_now
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.checkpoint.file import (
    CheckpointWriter,
    DamagedError,
    ForeignFile,
    Trailer,
    describe,
    total_size,
)
from hpcorch.runtime.checkpoint.framework_files import copy_into, fresh, make_durable
from hpcorch.runtime.checkpoint.names import FILES_SUFFIX, SUFFIX, CheckpointName, group, staging_name
from hpcorch.runtime.checkpoint.reading import entries, trailer_of
from hpcorch.runtime.checkpoint.removal import remove_what_can_be


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A checkpoint that is on disk, whole and durable.

    :param path: of the file
    :param size: bytes, with those of another framework's files
    :param digest: of the whole file, ``sha256:…``; the file holds the digests of the others
    :param seconds: that the save took
    :param removed: files of the older checkpoints that were removed for it
    """

    step: int
    path: Path
    size: int
    digest: str
    seconds: float
    removed: list[Path]


class CheckpointSaver:
    """Saves for one rank of one attempt.

    :param directory: of the run's checkpoints; made at the first save
    :ivar last: the name of the last save, of which rank 0's part and those of the others are named
    """

    def __init__(self, directory: Path, attempt: AttemptId, *, rank: int, ranks: int) -> None:
        self.last: CheckpointName | None = None
        self._directory = directory
        self._attempt = attempt
        self._key = (attempt.submission, attempt.restart)
        self._rank = rank
        self._ranks = ranks
        self._repeats: dict[int, int] = {}
        self._sequence: int | None = None
        self._staging = directory / staging_name(self._key, rank)

    def staging(self, step: int) -> Path:
        """A fresh, empty directory that another framework may write into, for ``files`` of the next save.

        There is one at a time: what an earlier call gave and no save took is removed.

        :raises CheckpointError: it cannot be made
        """
        try:
            self._make_directory()
            return fresh(self._staging)
        except OSError as error:
            raise self._not_saved(step, error) from error

    def save(self, step: int, content: Mapping[str, Any], files: Path | None) -> Saved:
        """Save a checkpoint durably, under a new name. What a failed save wrote is removed.

        :param content: anything that can be pickled
        :param files: what :meth:`staging` gave, which is taken without copying; or another directory or file, which
            is copied
        :return: without the time that it took, and with nothing removed
        :raises CheckpointError: it could not be saved
        """
        part: str | None = None
        try:
            self._make_directory()
            part = self._next_name(step).part(self._rank)
            return self._write(part, step, content, files)
        except BaseException as error:
            if part is not None:
                self._take_back(part)
            if isinstance(error, OSError):
                raise self._not_saved(step, error) from error
            raise

    def _not_saved(self, step: int, error: OSError) -> CheckpointError:
        why = error.strerror or error
        return CheckpointError(
            f"the checkpoint of step {step} could not be saved in {self._directory} ({why}); earlier checkpoints"
            " are unchanged. Free space there or in your quota, keep fewer checkpoints, or save less"
        )

    def _make_directory(self) -> None:
        if self._directory.is_dir():
            return
        for folder in (self._directory.parent, self._directory):
            make_record_folder(folder)
            sync_directory(folder.parent)

    def _next_name(self, step: int) -> CheckpointName:
        """The name of the next save. Ranks that save the same steps in the same order agree on it."""
        if self._sequence is None:
            self._sequence = self._last_sequence()
        self._sequence += 1
        submission, restart = self._key
        name = CheckpointName(submission=submission, restart=restart, step=step, repeat=self._repeats.get(step, 0))
        while self._is_taken(name.part(self._rank)):
            name = replace(name, repeat=name.repeat + 1)
        self._repeats[step] = name.repeat + 1
        self.last = name
        return name

    def _is_taken(self, part: str) -> bool:
        return any((self._directory / (part + suffix)).exists() for suffix in (SUFFIX, FILES_SUFFIX))

    def _last_sequence(self) -> int:
        """What this attempt's saves have come to, should another store have saved for it."""
        last = 0
        for found in group(entries(self._directory)):
            if found.name.attempt == self._key and self._rank in found.parts:
                try:
                    last = max(last, trailer_of(found, self._rank).sequence)
                except DamagedError:
                    continue
        return last

    def _write(self, part: str, step: int, content: Mapping[str, Any], files: Path | None) -> Saved:
        foreign = None if files is None else self._stage(files)
        temporary, final = self._temporary(part), self._directory / (part + SUFFIX)
        with CheckpointWriter(temporary) as file:
            _pickle(content, file, step)
            digest = file.finish(describe(self._trailer(step, foreign)))
        if foreign is not None:
            self._staging.rename(self._directory / (part + FILES_SUFFIX))
            sync_directory(self._directory)  # the files are there before the name that says so
        temporary.replace(final)
        sync_directory(self._directory)
        size = file.size + total_size(foreign)
        return Saved(step=step, path=final, size=size, digest=digest, seconds=0.0, removed=[])

    def _stage(self, files: Path) -> list[ForeignFile]:
        return make_durable(self._staging if files == self._staging else copy_into(self._staging, files))

    def _trailer(self, step: int, foreign: list[ForeignFile] | None) -> Trailer:
        assert self._sequence is not None
        return Trailer(
            step=step,
            attempt=str(self._attempt),
            sequence=self._sequence,
            rank=self._rank,
            ranks=self._ranks,
            saved=utc_now(),
            files=foreign,
        )

    def _temporary(self, part: str) -> Path:
        return self._directory / f".{part}{SUFFIX}.tmp"

    def _take_back(self, part: str) -> None:
        """Remove what a save that failed has left: on a full disk that is the first thing to do."""
        names = (part + SUFFIX, part + FILES_SUFFIX)
        remove_what_can_be([self._temporary(part), *(self._directory / name for name in names), self._staging])


def _pickle(content: Mapping[str, Any], file: CheckpointWriter, step: int) -> None:
    from hpcorch.runtime.checkpoint.pickling import dump

    try:
        dump(content, file)
    except OSError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"the checkpoint of step {step} could not be saved, because its state cannot be pickled"
            f" ({type(error).__name__}: {error}); earlier checkpoints are unchanged. Save values, arrays and state"
            " dicts, and reopen files, locks and the like after restoring"
        ) from error
