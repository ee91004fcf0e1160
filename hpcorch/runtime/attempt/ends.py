"""Ends of attempts that do not depend on what was executed, such as stops and refusals; ways out of programs."""

from __future__ import annotations

import os
import signal
import stat
import sys
from typing import TYPE_CHECKING, NoReturn

from hpcorch.errors import DriftError
from hpcorch.model.events import AttemptEnded
from hpcorch.model.processes import EXIT_SIGNAL_BASE
from hpcorch.model.states import AttemptOutcome
from hpcorch.runtime.context.claim import SupersededError
from hpcorch.runtime.context.output import flush, say, show_error
from hpcorch.runtime.context.signals import Stopped

if TYPE_CHECKING:
    from hpcorch.runtime.program.call import Called

_EXIT_FAILED = 1


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


def leave(exit_code: int) -> NoReturn:
    """Leave the program as it would leave by itself: what it has put in the place of ``sys.exit`` is called."""
    if exit_code:
        sys.exit(exit_code)
    raise SystemExit(0)


def leave_as_program(called: Called) -> NoReturn:
    """Leave the program in a process that the task has forked and that came back from it: its end is its own."""
    if isinstance(called.error, SystemExit):
        raise called.error
    if called.error is not None:
        show_error(called.error)
        sys.exit(_EXIT_FAILED)
    raise SystemExit(0)


def exit_code(error: BaseException) -> int:
    """The exit code of a task that raised: what it asked for with ``sys.exit(n)``, else 1; never 0."""
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code & 0xFF or _EXIT_FAILED  # the kernel keeps eight bits
    return _EXIT_FAILED
