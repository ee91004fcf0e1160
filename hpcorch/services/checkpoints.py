"""The checkpoints of one run, as its attempts tell of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from hpcorch.model.events import CheckpointFailed, CheckpointRejected, CheckpointSaved, Event
from hpcorch.model.ids import AttemptId
from hpcorch.services.plain import attempt_name

# The events that this is made from.
KINDS = frozenset({CheckpointSaved.kind, CheckpointFailed.kind, CheckpointRejected.kind})


class CheckpointState(str, Enum):
    """What became of a checkpoint, as far as an attempt told."""

    KEPT = "kept"
    REMOVED = "removed"  # it made room for later ones
    BROKEN = "broken"  # an attempt that looked for the newest valid one passed it over

    def __str__(self) -> str:
        return self.value  # as it is written everywhere, also by a user's f-string


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedCheckpoint:
    """A checkpoint.

    :param attempt: that saved it, such as ``s0.r1``
    :param file: relative to the sweep directory
    :param size: bytes
    :param seconds: that the save took
    :param saved_at: UTC
    """

    attempt: str
    step: int
    file: str
    size: int
    digest: str
    seconds: float
    saved_at: str
    state: CheckpointState


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointTrouble:
    """A checkpoint that could not be saved, or was broken when it was to be restored.

    :param attempt: that met it, such as ``s0.r1``
    :param subject: what it was about: ``step 40``, or the file relative to the sweep directory
    """

    attempt: str
    time: str
    problem: str  # failed | broken
    subject: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointHistory:
    """All that was told of a run's checkpoints, in the order in which the ledger learnt of it."""

    saved: Sequence[SavedCheckpoint]
    troubles: Sequence[CheckpointTrouble]

    @property
    def kept(self) -> int:
        """How many of those that were saved are still there and not known to be broken."""
        return sum(one.state is CheckpointState.KEPT for one in self.saved)

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "checkpoints": [{**asdict(one), "state": one.state.value} for one in self.saved],
            "checkpoint_troubles": [asdict(one) for one in self.troubles],
        }


def history_of(events: Sequence[Event]) -> CheckpointHistory:
    """The history of a run's checkpoints.

    :param events: those of the run; of :data:`KINDS` at least
    """
    removed = {file for event in events if isinstance(event.fact, CheckpointSaved) for file in event.fact.removed}
    broken = {event.fact.file for event in events if isinstance(event.fact, CheckpointRejected)}
    return CheckpointHistory(saved=list(_saved(events, removed, broken)), troubles=list(_troubles(events)))


def _saved(events: Iterable[Event], removed: set[str], broken: set[str]) -> Iterator[SavedCheckpoint]:
    for event in events:
        fact = event.fact
        if not isinstance(fact, CheckpointSaved):
            continue
        if fact.file in removed:
            state = CheckpointState.REMOVED
        else:
            state = CheckpointState.BROKEN if fact.file in broken else CheckpointState.KEPT
        yield SavedCheckpoint(
            attempt=_attempt(event),
            step=fact.step,
            file=fact.file,
            size=fact.size,
            digest=fact.digest,
            seconds=fact.seconds,
            saved_at=event.time,
            state=state,
        )


def _troubles(events: Iterable[Event]) -> Iterator[CheckpointTrouble]:
    for event in events:
        fact = event.fact
        if isinstance(fact, CheckpointFailed):
            problem, subject = "failed", f"step {fact.step}"
        elif isinstance(fact, CheckpointRejected):
            problem, subject = "broken", fact.file
        else:
            continue
        yield CheckpointTrouble(
            attempt=_attempt(event), time=event.time, problem=problem, subject=subject, reason=fact.reason
        )


def _attempt(event: Event) -> str:
    return attempt_name(AttemptId.parse(event.source))
