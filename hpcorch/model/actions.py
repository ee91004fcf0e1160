"""What a person may ask of runs that are not over, and the signal that asks a task to save and end."""

from __future__ import annotations

import signal
from enum import Enum


class Action(str, Enum):
    """A request for selected runs; its value is what the control journal records."""

    CANCEL = "cancel"
    HOLD = "hold"
    RELEASE = "release"


# Asks a task to save a checkpoint and end.
CHECKPOINT_SIGNAL = signal.SIGUSR2
