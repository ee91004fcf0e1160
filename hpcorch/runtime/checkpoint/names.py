"""The names of checkpoint files. All that belongs to one checkpoint has the same stem.

::

    step-000000000120.s0.r1.ckpt            rank 0's part: while this is there, the checkpoint counts
    step-000000000120.s0.r1.files/          what another framework wrote for it
    step-000000000120.s0.r1.rank2.ckpt      another rank's part
    step-000000000120.s0.r1.n1.ckpt         the attempt saved this step before
    .step-000000000120.s0.r1.ckpt.tmp       being written
    .staging.s0.r1                          where a framework writes until the checkpoint is saved

``s`` is the submission, ``r`` the restart of the attempt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

SUFFIX = ".ckpt"
FILES_SUFFIX = ".files"

_COMMITTED = re.compile(r"step-(\d{12,})\.s(\d+)\.r(\d+)(?:\.n(\d+))?(?:\.rank(\d+))?\.(?:ckpt|files)")
_UNFINISHED = re.compile(r"\.(?:staging|step-\d+)\.s(\d+)\.r(\d+)(?:\..*)?")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class CheckpointName:
    """What the stem says.

    :param repeat: how often the attempt had saved this step before
    """

    submission: int
    restart: int
    step: int
    repeat: int = 0

    def __str__(self) -> str:
        again = f".n{self.repeat}" if self.repeat else ""
        return f"step-{self.step:012d}.s{self.submission}.r{self.restart}{again}"

    def part(self, rank: int) -> str:
        """The stem of what one rank wrote."""
        return f"{self}.rank{rank}" if rank else str(self)

    @property
    def attempt(self) -> tuple[int, int]:
        """(submission, restart), which orders the attempts of a run."""
        return self.submission, self.restart


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies in a folder under one stem, by rank."""

    name: CheckpointName
    parts: dict[int, Path] = field(default_factory=dict)
    files: dict[int, Path] = field(default_factory=dict)


def staging_name(attempt: tuple[int, int], rank: int) -> str:
    """The name of the directory that a framework writes into."""
    stem = f".staging.s{attempt[0]}.r{attempt[1]}"
    return f"{stem}.rank{rank}" if rank else stem


def group(entries: Iterable[Path]) -> list[Found]:
    """Group the files in a folder by checkpoint; files with other names are left out."""
    found: dict[CheckpointName, Found] = {}
    for entry in entries:
        match = _COMMITTED.fullmatch(entry.name)
        if match is None:
            continue
        step, submission, restart, repeat, rank = (int(text or 0) for text in match.groups())
        name = CheckpointName(submission=submission, restart=restart, step=step, repeat=repeat)
        checkpoint = found.setdefault(name, Found(name=name))
        kind = checkpoint.parts if entry.name.endswith(SUFFIX) else checkpoint.files
        kind[rank] = entry
    return list(found.values())


def unfinished(entries: Iterable[Path], *, before: tuple[int, int]) -> Iterator[Path]:
    """Unfinished files of earlier attempts."""
    for entry in entries:
        match = _UNFINISHED.fullmatch(entry.name)
        if match is not None and (int(match[1]), int(match[2])) < before:
            yield entry
