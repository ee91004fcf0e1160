"""Signals as exit codes and records have them."""

from __future__ import annotations

import signal

EXIT_SIGNAL_BASE = 128  # a shell and srun report so a process that died of a signal
SIGNAL_NUMBERS = frozenset(item.value for item in signal.Signals)


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9."""
    return signal.Signals(number).name if number in SIGNAL_NUMBERS else f"signal {number}"
