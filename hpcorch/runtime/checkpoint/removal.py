"""Removing checkpoints beyond ``keep``, and unfinished files. A file that cannot be removed is not an error."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hpcorch.runtime.checkpoint.file import DamagedError
from hpcorch.runtime.checkpoint.framework_files import remove
from hpcorch.runtime.checkpoint.names import Found, group, unfinished
from hpcorch.runtime.checkpoint.reading import entries, quick_look


def make_room(directory: Path, attempt: tuple[int, int], *, keep: int) -> list[Path]:
    """Remove checkpoints of attempts up to this one, beyond the newest ``keep`` that are whole by their sizes.

    What is broken or unfinished, of attempts before this one, goes too: nobody will finish it. Nothing of a later
    attempt is touched, and nothing at all where the folder cannot be read.

    :return: the files of the checkpoints beyond ``keep``
    """
    try:
        present = entries(directory)
        whole, broken = _sort(group(present), attempt)
    except OSError:
        return []
    remove_what_can_be(unfinished(present, before=attempt))
    for found in broken:
        _remove_checkpoint(found)
    return [found.parts[0] for found in whole[keep:] if _remove_checkpoint(found)]


def _sort(found: Iterable[Found], attempt: tuple[int, int]) -> tuple[list[Found], list[Found]]:
    """Whole checkpoints, the newest first; and broken ones of earlier attempts."""
    whole: list[tuple[tuple[int, int], int, Found]] = []
    broken = []
    for one in found:
        if one.name.attempt > attempt:
            continue
        try:
            whole.append((one.name.attempt, quick_look(one).sequence, one))
        except DamagedError:
            if one.name.attempt < attempt:
                broken.append(one)
    return [one for *_, one in sorted(whole, key=lambda age: age[:2], reverse=True)], broken


def _remove_checkpoint(found: Found) -> bool:
    """Remove all that belongs to a checkpoint; rank 0's file first, for the rest counts for nothing without it."""
    parts = [found.parts[rank] for rank in sorted(found.parts)]
    return remove_what_can_be([*parts, *found.files.values()])


def remove_what_can_be(paths: Iterable[Path]) -> bool:
    """Remove files and directories.

    :return: whether none of them is left
    """
    gone = True
    for path in paths:
        try:
            remove(path)
        except OSError:
            gone = False
    return gone
