"""What a run's attempts tell of it: its checkpoints, and the commands that `hpcorch exec` executed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from enum import Enum
from typing import Any

from hpcorch.model.events import (
    CheckpointFailed,
    CheckpointRejected,
    CheckpointSaved,
    CommandEnded,
    CommandStarted,
    Event,
)
from hpcorch.model.ids import AttemptId
from hpcorch.model.values import from_plain
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.json_values import attempt_name

# The events that this is made from.
CHECKPOINT_KINDS = frozenset({CheckpointSaved.kind, CheckpointFailed.kind, CheckpointRejected.kind})


class CheckpointState(str, Enum):
    """What an attempt recorded about a checkpoint."""

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
    """All that is recorded of a run's checkpoints, in the order in which the ledger got it."""

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

    :param events: those of the run; of :data:`CHECKPOINT_KINDS` at least
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


# The events that this is made from.
COMMAND_KINDS = frozenset({CommandStarted.kind, CommandEnded.kind})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutedCommand:
    """A command: one step of an attempt.

    :param attempt: such as ``s0.r1``
    :param started_at: UTC
    :param flags: of `hpcorch exec`, before the command
    :param exit_code: as a shell has it; None while it runs, or if nobody told
    :param problem: why it was not started, or why there is no result
    """

    attempt: str
    step: int
    argv: Sequence[str]
    host: str
    started_at: str
    flags: Sequence[str] = ()
    exit_code: int | None = None
    signal: str | None = None
    seconds: float | None = None
    result: Any = None
    problem: str | None = None

    @property
    def called(self) -> list[str]:
        """The command line that executed it, with what `hpcorch exec` was told."""
        return ["hpcorch", "exec", *self.flags, "--", *self.argv] if self.flags else list(self.argv)

    @property
    def lacks_result(self) -> bool:
        """Whether it ended well, and did not leave the result that it was to write."""
        return self.exit_code == 0 and self.problem is not None

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return asdict(self)


def commands_of(events: Iterable[Event]) -> list[ExecutedCommand]:
    """The commands in the order of attempts and steps.

    :param events: of one run, of :data:`COMMAND_KINDS`
    """
    found: dict[tuple[AttemptId, int], ExecutedCommand] = {}
    for event in sorted(events, key=lambda one: (one.source, one.seq)):
        fact, attempt = event.fact, AttemptId.parse(event.source)
        if isinstance(fact, CommandStarted):
            found[attempt, fact.step] = ExecutedCommand(
                attempt=attempt_name(attempt),
                step=fact.step,
                argv=fact.argv,
                host=fact.host,
                started_at=event.time,
                flags=fact.flags or (),
            )
        elif isinstance(fact, CommandEnded) and (attempt, fact.step) in found:
            found[attempt, fact.step] = replace(
                found[attempt, fact.step],
                exit_code=fact.exit_code,
                signal=fact.signal,
                seconds=fact.seconds,
                result=from_plain(fact.result),
                problem=fact.problem,
            )
    return [found[key] for key in sorted(found)]
