"""The checkpoints of one run, of all its attempts, in one folder.

A checkpoint is whole or it does not count, whatever dies and whenever: its file is written under a temporary name,
synchronised and renamed, and carries the digests of all that belongs to it.

Attempts never share a file, so an attempt that should be dead and lives on can do no harm: what a later attempt
saved goes before all that it saves, and it removes nothing of later ones.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcorch import tunables
from hpcorch.errors import CheckpointError
from hpcorch.model.ids import AttemptId
from hpcorch.runtime.checkpoint.file import DamagedError
from hpcorch.runtime.checkpoint.names import group
from hpcorch.runtime.checkpoint.reading import (
    Rejected,
    Restored,
    VanishedError,
    by_age,
    entries,
    passing_over,
    quick_look,
    read_checkpoint,
)
from hpcorch.runtime.checkpoint.removal import make_room
from hpcorch.runtime.checkpoint.saving import CheckpointSaver, Saved


class CheckpointStore:
    """Saves and restores for one rank of one attempt.

    :param directory: of the run's checkpoints; made at the first save
    :param rank: this process among the run's tasks. Rank 0's file makes a checkpoint count, the others add parts of
        their own state; all ranks save the same steps in the same order
    :param ranks: how many there are
    """

    def __init__(self, directory: Path, attempt: AttemptId, *, rank: int = 0, ranks: int = 1) -> None:
        self._directory = directory
        self._key = (attempt.submission, attempt.restart)
        self._rank = rank
        self._ranks = ranks
        self._saver = CheckpointSaver(directory, attempt, rank=rank, ranks=ranks)

    def staging(self, step: int) -> Path:
        """A fresh, empty directory that another framework may write into, for ``files`` of the next save.

        There is one at a time: what an earlier call gave and no save took is removed.

        :raises CheckpointError: it cannot be made
        """
        return self._saver.staging(step)

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
        saved = self._saver.save(step, content, files)
        removed = make_room(self._directory, self._key, keep=keep) if self._rank == 0 else []
        return replace(saved, seconds=time.monotonic() - began, removed=removed)

    def await_parts(self, seconds: float | None) -> None:
        """As rank 0: wait until the other ranks' parts of the last save are there, or most of the time is over.

        :param seconds: that are left; None if nobody knows
        """
        deadline = time.monotonic() + (
            tunables.RANKS_WAIT_S if seconds is None else min(tunables.RANKS_WAIT_S, seconds * 0.8)
        )
        while not self._is_complete() and time.monotonic() < deadline:
            time.sleep(tunables.SHARED_FILE_POLL_S)

    def _is_complete(self) -> bool:
        found = [one for one in group(entries(self._directory)) if one.name == self._saver.last]
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
        for _ in range(tunables.CHECKPOINT_LOOKS):
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
