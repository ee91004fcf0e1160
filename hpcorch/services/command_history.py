"""The commands that `hpcorch exec` executed for one run, as its attempts tell of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from hpcorch.model.events import CommandEnded, CommandStarted, Event
from hpcorch.model.ids import AttemptId
from hpcorch.services.plain import attempt_name

# The events that this is made from.
KINDS = frozenset({CommandStarted.kind, CommandEnded.kind})


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

    :param events: of one run, of :data:`KINDS`
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
                result=fact.result,
                problem=fact.problem,
            )
    return [found[key] for key in sorted(found)]
