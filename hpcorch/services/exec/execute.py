"""`hpcorch exec`: executes a command and records what becomes of it.

In a job of `hpcorch sbatch` it is a step of the attempt that the script is, and Slurm tells how that ends.
Elsewhere it is a sweep of one run by itself, which ends as the command does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hpcorch.runtime.attempt.ends import signal_exit_code
from hpcorch.runtime.attempt.lifecycle import Attempt
from hpcorch.runtime.context.held_signals import HeldSignals
from hpcorch.runtime.context.signals import Stopped
from hpcorch.services.exec.begin import Call, begin_command
from hpcorch.services.exec.leases import lease_terms
from hpcorch.services.exec.time_limit import Treatment
from hpcorch.services.exec.work import CommandWork
from hpcorch.slurm.job_environment import job_here


def execute(argv: Sequence[str], treatment: Treatment, *, ledger: Path | None) -> int:
    """Execute a command, and return its exit code, as a shell has it.

    :param ledger: that a sweep of its own is announced to; None for the one that serves the working directory
    :raises UsageError: a lease that is asked for cannot be had; nothing was executed
    :raises RecordError: the command cannot be recorded; nothing was executed
    :raises UnavailableError: likewise
    """
    signals = HeldSignals()
    try:
        with signals.stops_raise():
            terms = lease_terms(treatment.leases, Path.cwd())
        call = Call(argv=tuple(argv), treatment=treatment, terms=terms, ledger=ledger)
        begun = begin_command(call, job_here(os.environ), signals)
    except Stopped as stop:
        return signal_exit_code(stop.name)
    work = CommandWork(call, begun, signals)
    return Attempt(place=begun.place, journal=begun.journal, signals=signals, work=work).execute().exit_code
