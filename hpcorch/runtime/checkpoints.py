"""The checkpoints of one run, of all its attempts, in one folder.

A checkpoint is whole or it does not count, whatever dies and whenever: its file is written under a temporary name,
synchronised and renamed, and carries the digests of all that belongs to it.

Attempts never share a file, so an attempt that should be dead and lives on can do no harm: what a later attempt
saved goes before all that it saves, and it removes nothing of later ones.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpcorch.errors import CheckpointError
from hpcorch.journal.files import sync_directory
from hpcorch.journal.layout import DIR_MODE
from hpcorch.model.ids import AttemptId, utc_now
from hpcorch.runtime.checkpoint_file import (
    CheckpointWriter,
    DamagedError,
    ForeignFile,
    Trailer,
    describe,
    total_size,
)
from hpcorch.runtime.checkpoint_names import FILES_SUFFIX, SUFFIX, CheckpointName, group, staging_name
from hpcorch.runtime.checkpoint_reading import (
    Rejected,
    Restored,
    VanishedError,
    by_age,
    entries,
    passing_over,
    quick_look,
    read_checkpoint,
    trailer_of,
)
from hpcorch.runtime.checkpoint_removal import make_room, remove_what_can_be
from hpcorch.runtime.framework_files import copy_into, fresh, make_durable

__all__ = ["CheckpointStore", "Rejected", "Restored", "Saved"]

# Ranks save the same step at about the same time; so long rank 0 waits for the others before it ends.
_PATIENCE_S = 60.0
_LOOK_S = 0.2
# An attempt that should be dead may remove a checkpoint after it was listed, having saved a newer one.
_LOOKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A checkpoint that is on disk, whole and durable.

    :param path: of the file
    :param size: bytes, with those of another framework's files
    :param digest: of the whole file, ``sha256:…``; the file holds the digests of the others
    :param seconds: that the save took
    :param removed: files of the older checkpoints that made room
    """

    step: int
    path: Path
    size: int
    digest: str
    seconds: float
    removed: list[Path]


class CheckpointStore:
    """Saves and restores for one rank of one attempt.

    :param directory: of the run's checkpoints; made at the first save
    :param rank: this process among the run's tasks. Rank 0's file makes a checkpoint count, the others add parts of
        their own state; all ranks save the same steps in the same order
    :param ranks: how many there are
    """

    def __init__(self, directory: Path, attempt: AttemptId, *, rank: int = 0, ranks: int = 1) -> None:
        self._directory = directory
        self._attempt = attempt
        self._key = (attempt.submission, attempt.restart)
        self._rank = rank
        self._ranks = ranks
        self._repeats: dict[int, int] = {}
        self._sequence: int | None = None
        self._last: CheckpointName | None = None
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

    def save(
        self,
        step: int,
        state: Any,
        *,
        generators: Mapping[str, Any],
        extras: Mapping[str, Any],
        keep: int,
        files: Path | None = None,
    ) -> Saved:
        """Save a checkpoint durably, then remove what is not kept.

        Checkpoints of this attempt and earlier ones are removed beyond the newest ``keep`` that are whole by their
        sizes (digests are verified when they are read), and so is what earlier attempts left broken or unfinished.
        That something cannot be removed is no failure of the save. Only rank 0 removes, and only complete
        checkpoints count: while other ranks still write, one more stays.

        Must not run in a signal handler that may have interrupted another save.

        :param state: anything that can be pickled; objects of classes of ``__main__`` are, too
        :param extras: plain values beside the state
        :param keep: how many checkpoints stay, at least 1
        :param files: what :meth:`staging` gave, which is taken without copying; or another directory or file, which
            is copied
        :raises CheckpointError: it could not be saved; earlier checkpoints are as they were
        """
        began = time.monotonic()
        if step < 0 or keep < 1:
            raise CheckpointError(
                f"a checkpoint of step {step} with keep={keep} cannot be saved: steps count from 0, and at least"
                " one checkpoint stays"
            )
        content = {"state": state, "generators": dict(generators), "extras": dict(extras)}
        saved = self._save(step, content, files)
        removed = make_room(self._directory, self._key, keep=keep) if self._rank == 0 else []
        return replace(saved, seconds=time.monotonic() - began, removed=removed)

    def await_parts(self, seconds: float | None) -> None:
        """As rank 0: wait until the other ranks' parts of the last save are there, or most of the time is over.

        :param seconds: that are left; None if nobody knows
        """
        deadline = time.monotonic() + (_PATIENCE_S if seconds is None else min(_PATIENCE_S, seconds * 0.8))
        while not self._is_complete() and time.monotonic() < deadline:
            time.sleep(_LOOK_S)

    def _is_complete(self) -> bool:
        found = [one for one in group(entries(self._directory)) if one.name == self._last]
        try:
            return bool(found) and quick_look(found[0]).ranks == self._ranks
        except (DamagedError, OSError):
            return False

    def newest(self, *, like: str | None = None) -> tuple[Restored | None, list[Rejected]]:
        """The newest valid checkpoint of this attempt and those before it, verified and read.

        Newest means of the latest attempt, and of that the one saved last. All that belongs to a checkpoint is
        verified by its digest before it is unpickled; a broken one is passed over.

        A checkpoint that is whole and cannot be made anew, because a class or module is not there or the number of
        ranks is another, is an error: older ones have the same trouble, and to begin from scratch would throw work
        away without a word.

        :param like: the stem or file name of the checkpoint that rank 0 restored: no other is looked at, and only
            this rank's part of it is verified
        :return: None if there is none; and what was passed over
        :raises CheckpointError: the checkpoint is whole and does not fit this task, or the folder cannot be read
        """
        for _ in range(_LOOKS):
            rejected: list[Rejected] = []
            try:
                return self._newest(like, rejected), rejected
            except VanishedError:
                continue
            except OSError as error:
                raise CheckpointError(
                    f"the checkpoints in {self._directory} cannot be listed ({error.strerror}), so the run cannot"
                    " go on from one: retry it when the file system answers again"
                ) from error
        raise CheckpointError(
            f"checkpoints in {self._directory} vanish while they are read: another process of the run is still at"
            " work. See that it has ended, and retry the run"
        )

    def _newest(self, like: str | None, rejected: list[Rejected]) -> Restored | None:
        for found in by_age(self._directory, self._key, rejected, like=like):
            with passing_over(found, rejected):
                return read_checkpoint(found, rank=self._rank, ranks=self._ranks, own_part_only=like is not None)
        return None

    def _save(self, step: int, content: Mapping[str, Any], files: Path | None) -> Saved:
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
            f"the checkpoint of step {step} could not be saved in {self._directory} ({why}); those before it are as"
            " they were. Free space there or in your quota, keep fewer checkpoints, or save less"
        )

    def _make_directory(self) -> None:
        if self._directory.is_dir():
            return
        for folder in (self._directory.parent, self._directory):
            folder.mkdir(mode=DIR_MODE, exist_ok=True)
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
        self._last = name
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
    from hpcorch.runtime.pickling import dump

    try:
        dump(content, file)
    except OSError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"the checkpoint of step {step} could not be saved, because its state cannot be pickled"
            f" ({type(error).__name__}: {error}); those before it are as they were. Save values, arrays and state"
            " dicts, and make open files, locks and the like anew after restoring"
        ) from error
