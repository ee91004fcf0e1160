"""When a checkpoint is due, and how long the process has. Pure, but for the clock."""

from __future__ import annotations

import time

from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.context.signals import ASKED_SIGNAL, SignalOwner


@dataclass(slots=True, kw_only=True)
class Schedule:
    """Remembers what :meth:`is_due` depends on.

    :param last_step: at the latest call, or of the checkpoint that was restored
    :param saved_at: by the monotonic clock; at first, when the task was called
    """

    last_step: int
    saved_at: float

    def is_due(self, step: int, *, every_steps: int | None, every_minutes: float | None) -> bool:
        """Whether a multiple of ``every_steps`` was reached since the last call, or the minutes are over."""
        reached = every_steps is not None and step // every_steps > self.last_step // every_steps
        waited = every_minutes is not None and time.monotonic() - self.saved_at >= 60 * every_minutes
        self.last_step = step
        return reached or waited or (every_steps is None and every_minutes is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLeft:
    """What bounds the life of the process.

    :param end: of the time limit, by the wall clock; None if it is not known
    :param signal_delay_s: from the warning to the time limit
    :param grace_s: from SIGTERM to SIGKILL, at least
    """

    end: float | None
    signal_delay_s: float
    grace_s: float

    def seconds(self, signals: SignalOwner) -> float | None:
        """Seconds that are left at least; None if nothing is known to end the process."""
        bounds = []
        if self.end is not None:
            bounds.append(self.end - time.time())
        elif signals.warned_at is not None:
            bounds.append(signals.warned_at + self.signal_delay_s - time.monotonic())
        if signals.stopped_at is not None and signals.stopped_by != ASKED_SIGNAL and signals.warned_at is None:
            bounds.append(signals.stopped_at + self.grace_s - time.monotonic())
        return max(0.0, min(bounds)) if bounds else None
