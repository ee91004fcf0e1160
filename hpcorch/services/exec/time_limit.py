"""How long a command may live, and what follows when the time limit of its job is near."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcorch import tunables
from hpcorch.runtime.attempt.requeue import may_requeue
from hpcorch.runtime.context.output import say
from hpcorch.runtime.context.place import Place
from hpcorch.services.exec.process import Limits
from hpcorch.slurm.own_job import end_of

DEFAULT_REQUEUES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """How a command is to be treated.

    :param name: what a sweep of its own is called; by default as its program
    :param leases: resource -> slots that are held for it
    :param result: the file that it writes its result to
    :param grace_s: seconds from a signal that asks it to end to SIGKILL; None leaves that to others
    :param requeue: put the job back into the queue when its time limit is near
    :param signal_delay_s: seconds before the time limit at which that begins; None for 120, or half of what is left
        of a shorter job
    :param max_requeues: how often that is done at most
    """

    name: str | None = None
    leases: Mapping[str, int] = field(default_factory=dict)
    result: Path | None = None
    grace_s: float | None = None
    requeue: bool = False
    signal_delay_s: float | None = None
    max_requeues: int = DEFAULT_REQUEUES

    @property
    def flags(self) -> list[str]:
        """As flags of `hpcorch exec`: those that differ from the defaults."""
        given: dict[str, str | None] = {
            "--name": self.name,
            "--result": None if self.result is None else str(self.result),
            "--grace": None if self.grace_s is None else f"{self.grace_s:.15g}",
        }
        if self.requeue:
            given["--signal-delay"] = None if self.signal_delay_s is None else f"{self.signal_delay_s:.15g}"
            given["--max-requeues"] = str(self.max_requeues) if self.max_requeues != DEFAULT_REQUEUES else None
        leases = [f"--lease={name}={count}" for name, count in sorted(self.leases.items())]
        values = [f"{flag}={value}" for flag, value in given.items() if value is not None]
        return [*leases, *(["--requeue"] if self.requeue else []), *values]

    @property
    def options(self) -> dict[str, Any]:
        """As it is recorded: what differs from the defaults."""
        given = {
            "leases": dict(self.leases) or None,
            "result": None if self.result is None else str(self.result),
            "grace_s": self.grace_s,
            "requeue": self.requeue or None,
            "signal_delay": self.signal_delay_s if self.requeue else None,
            "max_requeues": self.max_requeues if self.requeue else None,
        }
        return {name: value for name, value in given.items() if value is not None}


def limits_of(treatment: Treatment, place: Place) -> Limits:
    """What bounds the life of a command."""
    job = place.job
    if job is None:
        if treatment.requeue:
            say("--requeue does nothing outside of a Slurm job")
        return Limits(grace_s=tunables.COMMAND_GRACE_S if treatment.grace_s is None else treatment.grace_s)
    if not treatment.requeue:
        return Limits(grace_s=treatment.grace_s)
    if not may_requeue(place, most=treatment.max_requeues):
        say(f"the job was requeued {treatment.max_requeues} times near its time limit, and is not requeued again")
        return Limits(grace_s=treatment.grace_s)
    end = end_of(job)
    if end is None:
        say("the time limit of the job is not known, so it cannot be requeued in time")
        return Limits(grace_s=treatment.grace_s)
    ahead = _ahead_s(treatment.signal_delay_s, max(0.0, end - time.time()))
    return Limits(
        grace_s=treatment.grace_s, warn_at=end - ahead, kill_at=end - min(tunables.COMMAND_LAST_MOMENT_S, ahead / 4)
    )


def _ahead_s(asked_s: float | None, left_s: float) -> float:
    """Seconds before the time limit at which the command is asked to end: as said, if that leaves it any time."""
    if asked_s is None:
        return min(tunables.COMMAND_STOP_AHEAD_S, left_s / 2)
    if asked_s < left_s:
        return asked_s
    say(
        f"the job has {left_s:.0f} s left, and --signal-delay is {asked_s:g}: the command is sent SIGTERM"
        f" {left_s / 2:.0f} s before the time limit"
    )
    return left_s / 2
