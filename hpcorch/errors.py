"""Every error that a user can meet, as one tree.

::

    HpcorchError                 exit  transient   met when
    ├── UsageError                 2       no      the command line or configuration cannot be understood
    │   ├── NotFoundError          2       no      no such sweep, run, file or ledger
    │   └── PolicyError            2       no      a limit or policy of the site profile forbids it
    ├── RunsNotFineError           1       no      the thing asked about is not fine (a run failed)
    │   └── TaskFailedError        1       no      one run's task raised, or its process died
    ├── DriftError                75       no      what would run is not what was submitted
    ├── RecordError                1       no      a journal, manifest or ledger is damaged or foreign
    │   └── RecordGoneError        1       no      a sweep's directory was deleted, moved or exchanged
    ├── CheckpointError            1       no      a checkpoint could not be saved, or does not fit the task
    ├── LeaseLostError             1       no      a lease expired while its holder was stopped
    ├── SubmissionRejectedError    2       no      Slurm answered that it will not take the job
    │   └── SubmitLimitError       3      yes      … since the user has as many as a limit allows
    └── UnavailableError           3      yes      Slurm or the file system did not answer
        ├── SlurmUnavailableError  3      yes      no Slurm commands, controller down, time-out
        └── SubmissionUnknownError 3      yes      an sbatch whose outcome nobody knows yet

Messages are sentences: what failed, why, what to do. The command line prints them without a traceback
and exits with ``exit_code``; ``transient`` says whether the same call may succeed later.
"""

from __future__ import annotations

from typing import ClassVar


class HpcorchError(Exception):
    """Base of all errors raised on purpose; its text is meant for the user."""

    exit_code: ClassVar[int] = 1
    transient: ClassVar[bool] = False


class UsageError(HpcorchError):
    """The command line, a configuration value or a selector cannot be understood."""

    exit_code = 2


class NotFoundError(UsageError):
    """The sweep, run, file or ledger that was named does not exist."""


class PolicyError(UsageError):
    """A limit, an envelope or a policy of the site profile forbids what was asked for; nothing was submitted."""


class RunsNotFineError(HpcorchError):
    """The thing asked about exists and is not fine."""


class TaskFailedError(RunsNotFineError):
    """A run's task raised, or its process died.

    :param run: the run's index within its sweep
    :param log: path of its log file, if one is known
    """

    def __init__(self, message: str, *, run: int, log: str | None = None) -> None:
        super().__init__(message)
        self.run = run
        self.log = log


class DriftError(HpcorchError):
    """What would run differs from what was frozen at submission, and the policy is to refuse."""

    exit_code = 75


class RecordError(HpcorchError):
    """A journal, manifest or ledger is damaged, or belongs to something else."""


class RecordGoneError(RecordError):
    """The record of a sweep is not in its directory: that was deleted, moved, or given to another sweep."""


class ForeignFileError(RecordError):
    """What would be executed, or decides what is, belongs to another user."""


class CheckpointError(HpcorchError):
    """A checkpoint could not be saved (earlier ones are as they were), or what it holds does not fit the task."""


class LeaseLostError(HpcorchError):
    """A lease expired while its holder was stopped or cut off: what it protected may have been used by others."""


class SubmissionRejectedError(HpcorchError):
    """Slurm answered, and the answer is no; nothing was submitted."""

    exit_code = 2


class SubmitLimitError(SubmissionRejectedError):
    """Slurm answered no, since the user has as many jobs with it as a limit allows; nothing was submitted."""

    exit_code = 3
    transient = True


class UnavailableError(HpcorchError):
    """Slurm or the file system did not answer; the same call may succeed later."""

    exit_code = 3
    transient = True


class SlurmUnavailableError(UnavailableError):
    """No Slurm commands here, the controller does not answer, or a command ran out of time."""


class SubmissionUnknownError(UnavailableError):
    """An ``sbatch`` ended without an answer; whether the job exists must be settled by looking."""
