"""Ends of attempts that do not depend on what was executed: stopped, superseded, refused."""

from __future__ import annotations

import os
import signal
import stat

from hpcorch.errors import DriftError
from hpcorch.model.events import AttemptEnded
from hpcorch.model.processes import EXIT_SIGNAL_BASE
from hpcorch.model.states import AttemptOutcome
from hpcorch.runtime.context.claim import SupersededError
from hpcorch.runtime.context.output import flush, say
from hpcorch.runtime.context.signals import Stopped


def ended_by(error: BaseException) -> AttemptEnded | None:
    """The end that an exception of ours means, which the log shows; None for any other exception."""
    if isinstance(error, Stopped):
        return stopped(error.name)
    if isinstance(error, SupersededError):
        say(str(error))
        return AttemptEnded(outcome=AttemptOutcome.SUPERSEDED.value, exit_code=0, reason=str(error))
    if isinstance(error, DriftError):
        say(str(error))
        return AttemptEnded(outcome=AttemptOutcome.REFUSED.value, exit_code=DriftError.exit_code, reason=str(error))
    return None


def stopped(signal_name: str) -> AttemptEnded:
    """The end of an attempt that a signal has asked to end."""
    return AttemptEnded(
        outcome=AttemptOutcome.STOPPED.value,
        exit_code=signal_exit_code(signal_name),
        signal=signal_name,
        log_end=log_size(),
    )


def signal_exit_code(signal_name: str) -> int:
    """The exit code of a process that a signal ended, as in a shell."""
    return EXIT_SIGNAL_BASE + signal.Signals[signal_name].value


def log_size() -> int | None:
    """Where this attempt ends in its log, if the output is a file."""
    flush()
    try:
        status = os.fstat(1)
    except OSError:  # the task or the caller closed it
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
