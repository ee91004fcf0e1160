"""What became of a sweep directory, which cannot tell it itself."""

from __future__ import annotations

from hpcorch.model.events.base import Fact
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryMoved(Fact):
    """A folder that the sweep directory is, or lies below, has another path now."""

    kind = "directory-moved"
    old: str  # absolute path
    new: str  # absolute path
    user: str  # who said so
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryRemoved(Fact):
    """The sweep's files are about to be removed by `hpcorch rm`."""

    kind = "directory-removed"
    directory: str  # absolute path
    files: int
    size: int  # bytes of all files
    user: str
    uid: int
    host: str
