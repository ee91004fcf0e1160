"""What the end of a command means for an attempt that is that command alone."""

from __future__ import annotations

from hpcorch.model.events import AttemptEnded
from hpcorch.model.states import AttemptOutcome
from hpcorch.runtime.attempt.ends import log_size
from hpcorch.runtime.context.signals import WARNING_SIGNAL
from hpcorch.services.exec.process import Ended
from hpcorch.services.exec.result_file import Found


def attempt_end(ended: Ended, found: Found, *, in_job: bool) -> AttemptEnded:
    """How an attempt that is one command ended.

    A command that ends well after it was asked to may have been preempted, in a job: that is Slurm's to tell.
    """
    stop = WARNING_SIGNAL if ended.warned else ended.asked_by
    if stop is not None and (in_job or ended.exit_code != 0):
        return AttemptEnded(
            outcome=AttemptOutcome.STOPPED.value,
            exit_code=ended.exit_code,
            signal=stop,
            reason="its time limit was near" if ended.warned else None,
            result=found.result,
            log_end=log_size(),
        )
    if ended.exit_code == 0:
        # That a result is missing is worth a word, and makes no failure of what its command calls a success.
        return AttemptEnded(
            outcome=AttemptOutcome.COMPLETED.value,
            exit_code=0,
            reason=found.problem,
            result=found.result,
            log_end=log_size(),
        )
    how = f"killed by {ended.signal}" if ended.signal else f"it ended with exit code {ended.exit_code}"
    return AttemptEnded(
        outcome=AttemptOutcome.FAILED.value,
        exit_code=ended.exit_code,
        signal=ended.signal,
        reason=how,
        result=found.result,
        log_end=log_size(),
    )
