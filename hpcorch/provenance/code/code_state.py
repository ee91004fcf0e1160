"""What a code state consists of, and what of the project is left out."""

from __future__ import annotations

import os
from pathlib import Path

from hpcorch.journal.snapshots import printable
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a snapshot may take.

    :param file_bytes: of one file; a loaded module may be larger
    :param extension_bytes: of one built extension
    :param total_bytes: of all files
    :param files: how many
    :param ignored: how many modules that git ignores
    :param seen: how many files a tree without git may have, wanted or not, before the search stops
    """

    file_bytes: int = 10_000_000
    extension_bytes: int = 100_000_000
    total_bytes: int = 200_000_000
    files: int = 50_000
    ignored: int = 2_000
    seen: int = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A file, or a folder (with ``/`` at the end), that was left out.

    :param is_usual: nobody misses it, such as data or an environment: it is recorded, and not told at each launch
    """

    path: str
    reason: str
    is_usual: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file that belongs to the code state.

    :param path: relative to the root
    :param status: of the file itself, not of what a link points to
    :param target: where a link points to, relative to its own folder; None for a file
    """

    path: str
    status: os.stat_result
    target: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What belongs to a code state, by path as bytes, and what does not.

    :param is_whole: whether the root is a project; else files of it that belong to nobody's code are left alone
    """

    root: Path
    files: tuple[Source, ...]
    left: tuple[Left, ...]
    is_whole: bool = True


def describe(left: Left) -> str:
    """A sentence on what was left out."""
    what = f"the rest of {left.path}" if left.path == "./" else printable(left.path)
    return f"{what} is not in the snapshot: {left.reason}"
