"""Checkpoints: saved, restored, or why not."""

from __future__ import annotations

from dataclasses import field

from hpcorch.model.events.base import Fact
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Fact):
    """A checkpoint is on disk, whole and durable."""

    kind = "checkpoint-saved"
    step: int
    file: str  # path relative to the sweep directory
    size: int  # bytes, files of other frameworks included
    digest: str  # of the file, which holds the digests of the others
    seconds: float  # that the save took
    removed: list[str] = field(default_factory=list)  # older checkpoints that were removed for it


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFailed(Fact):
    """A checkpoint could not be saved; earlier ones are unchanged."""

    kind = "checkpoint-failed"
    step: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRejected(Fact):
    """A checkpoint is broken, and was skipped in the search for the newest valid one."""

    kind = "checkpoint-rejected"
    file: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRestored(Fact):
    """The attempt goes on from a checkpoint."""

    kind = "checkpoint-restored"
    step: int
    file: str
    digest: str
    attempt: str  # that saved it
    generators: list[str]  # whose random state was restored, such as random, numpy, torch


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointAbsent(Fact):
    """The task asked for a checkpoint to go on from, and there was no valid one: it starts at the beginning."""

    kind = "checkpoint-absent"
