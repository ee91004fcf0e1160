"""What hpcorch's processes share: the modules that they are started as, exit codes of signals, their environment.

Batch scripts and command lines hold the names of modules. A test sees that each can be started.
"""

from __future__ import annotations

import signal

RUNTIME = "hpcorch.runtime"
"""Executes one run: the batch scripts of sweeps and the local pool start it."""

KEEPER = "hpcorch.services.tending.keeper"
"""Looks after a sweep when an array is over: the batch scripts of keepers start it."""

PACKED = "hpcorch.services.packing.task"
"""Executes runs one after another, or several at once: the batch scripts of packed arrays start it."""

REBALANCE = "hpcorch.services.throttling.rebalance"
"""Shares throttled resources among a user's arrays: their tasks start it."""

NODE_TRIAL = "hpcorch.services.doctor.trial"
"""Looks around on a node: the trial jobs of ``hpcorch doctor --jobs`` start it."""

SERVE = "--serve"
"""Of :data:`RUNTIME`: be a fork server, whose channel is at this descriptor."""

FORKED_NAME = "hpcorch-task-"
"""A process that a fork server has forked has a file in memory with this name and the number of its task."""

EXIT_SIGNAL_BASE = 128  # a shell and srun report so a process that died of a signal
SIGNAL_NUMBERS: frozenset[int] = frozenset(signal.Signals)


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9."""
    return signal.Signals(number).name if number in SIGNAL_NUMBERS else f"signal {number}"


# Of a user's script: the sweep that it is on record as, and the mark of its submission.
SWEEP_VARIABLE, TOKEN_VARIABLE = "HPCORCH_SWEEP_DIR", "HPCORCH_TOKEN"


EXTENDS_VARIABLE = "HPCORCH_EXTENDS"
"""Tells the launcher of a program which sweep it adds runs to: its id and the name of its task function."""

SNAPSHOT_VARIABLE = "HPCORCH_SNAPSHOT"
"""Tells the Python processes that a job starts where their code is."""
