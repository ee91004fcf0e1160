"""What became of an attempt that could not say so itself: one table of rules over two witnesses.

The first witness is the attempt's journal: it says what the task did. The second is the scheduler: it says what
became of the job. Neither alone is enough: SIGTERM means preemption, ``scancel``, a requeue and a time limit alike,
and a job that was killed by the user's own code has failed for Slurm as one whose code raised.
Where the journal has a last word (completed, failed, refused, skipped), that word stands, but for the rows that
name it. The first row that fits decides.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from hpcorch.model.job_states import JobState
from hpcorch.model.states import AttemptState


class Journal(str, Enum):
    """What an attempt's journal says of its end."""

    NOTHING = "no end"  # it was killed before it could write one, or never began
    CALLED = "its function was called, it was not asked to end, and recorded no end"
    STOPPED = "stopped by SIGTERM or SIGINT"
    WARNED = "stopped by SIGUSR1, the warning before the time limit"
    ASKED = "stopped by SIGUSR2, the request to save a checkpoint and end"
    LED = "rank 0 of several completed"
    FAILED = "failed"
    SCRIPT = "a user's script, whose end only Slurm records"
    YIELDED = "ended normally after a signal that asked it to end"


class Sign(str, Enum):
    """What else is known of the end."""

    OVER_MEMORY = "the log has Slurm's words for a job over its memory limit"
    SIGUSR1 = "SIGUSR1 killed it"
    SIGUSR2 = "SIGUSR2 killed it"
    SIGKILL = "SIGKILL killed it"
    CRASH = "a signal that native code dies of killed it"
    SIGNAL = "some other signal killed it"
    PREEMPTED = "Slurm had started to preempt it"
    RANKS = "it had several ranks, of which only the first keeps a journal"
    EXIT_CODE = "its exit code is known"
    QUEUE_ALONE = "squeue alone has told of it, which does not show why"
    ASKED = "somebody asked to cancel it"
    NO_OUTPUT = "Slurm's exit code 0:53: it could not open the output file"


_ALL = frozenset(Journal)
_OPEN = _ALL - {Journal.FAILED}
# sacct tells a preemption from a requeue by hand, but up to half a minute after squeue shows that the job waits.
REQUEUED_UNEXPLAINED = "requeued; Slurm has not reported why yet"
_BEGUN = frozenset({Journal.NOTHING, Journal.CALLED})
_UNHEARD = frozenset({*_BEGUN, Journal.SCRIPT})
_NOT_SLURM = "which Slurm did not send: by its own code, another process of its user, or a shutdown of its node"


@dataclass(frozen=True, slots=True)
class Rule:
    """If the journal says one of these, Slurm one of these, and the sign is there, this is how the attempt ended.

    :param reason: a sentence, for an end of which the scheduler's word does not bring its own
    """

    journal: Collection[Journal]
    slurm: Collection[JobState]
    sign: Sign | None
    ended: AttemptState
    reason: str | None


RULES: tuple[Rule, ...] = (
    # The cluster took the node away. What the task raised on its signal is a consequence.
    # (24.11 also says PREEMPTED, and requeues, however the attempt ends that follows a preempted one: measured.)
    Rule(
        (Journal.FAILED,),
        (JobState.PREEMPTED,),
        None,
        AttemptState.PREEMPTED,
        "it failed, and Slurm records it as preempted",
    ),
    Rule(
        (Journal.ASKED,),
        (JobState.PREEMPTED,),
        None,
        AttemptState.PREEMPTED,
        "asked by SIGUSR2 to save a checkpoint and end, which it did; Slurm records it as preempted",
    ),
    Rule(
        _ALL, (JobState.PREEMPTED,), None, AttemptState.PREEMPTED, "preempted: a job with precedence took its place"
    ),
    Rule(
        (Journal.WARNED,),
        (JobState.REQUEUED,),
        None,
        AttemptState.REQUEUED,
        "requeued by hpcorch near its time limit",
    ),
    Rule(
        _OPEN,
        (JobState.REQUEUED,),
        Sign.PREEMPTED,
        AttemptState.PREEMPTED,
        "preempted: a job with precedence took its place",
    ),
    Rule(_OPEN, (JobState.REQUEUED,), Sign.QUEUE_ALONE, AttemptState.REQUEUED, REQUEUED_UNEXPLAINED),
    Rule(_OPEN, (JobState.REQUEUED,), None, AttemptState.REQUEUED, "requeued by hand, or by the site"),
    Rule(_OPEN, (JobState.NODE_FAIL,), None, AttemptState.NODE_FAIL, "its node failed"),
    Rule(_OPEN, (JobState.BOOT_FAIL,), None, AttemptState.BOOT_FAIL, "its node did not boot"),
    # Somebody ended it.
    Rule(_OPEN, (JobState.CANCELLED,), None, AttemptState.CANCELLED, "cancelled"),
    # Memory, in both shapes: the cgroup plugin has a state for it, OverMemoryKill kills and calls it a failure.
    Rule(
        _ALL, (JobState.OUT_OF_MEMORY,), None, AttemptState.OUT_OF_MEMORY, "it used more memory than it asked for"
    ),
    Rule(
        _OPEN,
        (JobState.FAILED,),
        Sign.OVER_MEMORY,
        AttemptState.OUT_OF_MEMORY,
        "it used more memory than it asked for, and Slurm killed it (see its log)",
    ),
    Rule(
        (Journal.ASKED,),
        (JobState.FAILED, JobState.COMPLETED, JobState.TIMEOUT, JobState.LOST),
        None,
        AttemptState.CANCELLED,
        "asked by SIGUSR2 to save a checkpoint and end, which it did",
    ),
    Rule(
        _BEGUN,
        (JobState.FAILED,),
        Sign.SIGUSR2,
        AttemptState.CANCELLED,
        "asked by SIGUSR2 to save a checkpoint and end, and killed by that signal, because the run did not"
        " handle that signal yet",
    ),
    # Time.
    Rule(_OPEN, (JobState.TIMEOUT,), None, AttemptState.TIMEOUT, "it reached its time limit"),
    Rule(
        _OPEN,
        (JobState.DEADLINE,),
        None,
        AttemptState.DEADLINE,
        "it reached the deadline that it was submitted with",
    ),
    Rule(
        (Journal.WARNED,),
        (JobState.FAILED, JobState.COMPLETED),
        None,
        AttemptState.TIMEOUT,
        "stopped near its time limit, and not requeued",
    ),
    # Slurm looks at limits twice a minute, and warns as much early: where they are short, before the task begins.
    Rule(
        _BEGUN,
        (JobState.FAILED,),
        Sign.SIGUSR1,
        AttemptState.TIMEOUT,
        "killed by SIGUSR1, the warning before its time limit, because the run did not handle that signal yet",
    ),
    # A command that hpcorch wraps in a job of the user's own, which went on when the command was over.
    Rule(
        (Journal.YIELDED,), (JobState.COMPLETED, JobState.FAILED, JobState.LOST), None, AttemptState.COMPLETED, None
    ),
    Rule(
        (Journal.STOPPED,),
        (JobState.COMPLETED,),
        None,
        AttemptState.FAILED,
        "stopped by {stop}, and its job went on",
    ),
    # A user's script: it ended as Slurm says. But 22.05 says so, too, of one that ends while it is being preempted,
    # before its grace time is over, and does not requeue it (24.11 and 26.05 say PREEMPTED).
    Rule(
        (Journal.SCRIPT,),
        (JobState.FAILED,),
        Sign.PREEMPTED,
        AttemptState.PREEMPTED,
        "preempted: it ended within the grace time, for which Slurm calls it failed and does not requeue it",
    ),
    Rule(
        (Journal.SCRIPT,),
        (JobState.COMPLETED,),
        Sign.PREEMPTED,
        AttemptState.COMPLETED,
        "it ended normally while Slurm preempted it: its log shows whether its work was done",
    ),
    Rule((Journal.SCRIPT,), (JobState.COMPLETED,), None, AttemptState.COMPLETED, None),
    Rule((Journal.SCRIPT,), (JobState.LOST,), None, AttemptState.LOST, "Slurm has no record of its end"),
    # It failed, without Slurm's doing.
    Rule(
        _UNHEARD,
        (JobState.FAILED,),
        Sign.NO_OUTPUT,
        AttemptState.FAILED,
        "Slurm could not open its output file: the folder does not exist or is not writable",
    ),
    Rule(
        (Journal.STOPPED,),
        (JobState.FAILED,),
        Sign.RANKS,
        AttemptState.FAILED,
        "another rank of it failed first (see its log)",
    ),
    Rule((Journal.STOPPED,), (JobState.FAILED,), None, AttemptState.FAILED, f"stopped by {{stop}}, {_NOT_SLURM}"),
    Rule(
        _OPEN,
        (JobState.FAILED,),
        Sign.SIGKILL,
        AttemptState.FAILED,
        "killed by SIGKILL: by its own code, another process of its user, or the kernel for want of memory",
    ),
    Rule(_OPEN, (JobState.FAILED,), Sign.CRASH, AttemptState.FAILED, "it crashed in native code: {signal}"),
    Rule(_OPEN, (JobState.FAILED,), Sign.SIGNAL, AttemptState.FAILED, f"killed by {{signal}}, {_NOT_SLURM}"),
    Rule((Journal.LED,), (JobState.FAILED,), None, AttemptState.FAILED, "rank 0 completed and another rank failed"),
    Rule(
        (Journal.SCRIPT,),
        (JobState.FAILED,),
        Sign.EXIT_CODE,
        AttemptState.FAILED,
        "it ended with exit code {exit_code} (see its log)",
    ),
    Rule((Journal.SCRIPT,), (JobState.FAILED,), None, AttemptState.FAILED, "it failed (see its log)"),
    Rule(
        _OPEN,
        (JobState.FAILED,),
        Sign.EXIT_CODE,
        AttemptState.FAILED,
        "it ended with exit code {exit_code} and recorded no end (see its log)",
    ),
    Rule(_OPEN, (JobState.FAILED,), None, AttemptState.FAILED, "it failed and recorded no end (see its log)"),
    # A process may leave by `os._exit(0)` within its function, as simulators do that skip a slow teardown. (22.05
    # says COMPLETED, too, of one that ends so while it is being preempted: measured.)
    Rule(
        (Journal.CALLED,),
        (JobState.COMPLETED,),
        Sign.PREEMPTED,
        AttemptState.LOST,
        "its process ended with exit code 0 while Slurm preempted it, and recorded no end",
    ),
    Rule(
        (Journal.CALLED,),
        (JobState.COMPLETED,),
        Sign.ASKED,
        AttemptState.CANCELLED,
        "it was asked to end, and its process did with exit code 0, without recording an end",
    ),
    Rule(
        (Journal.CALLED,),
        (JobState.COMPLETED,),
        None,
        AttemptState.COMPLETED,
        "its process ended with exit code 0 before its function returned (os._exit), so there is no result",
    ),
    # Otherwise a task that ends well says so itself, so its silence means that nobody knows. Of several ranks the
    # first has completed: Slurm may say that another failed, and without a record nothing contradicts rank 0.
    Rule((Journal.LED,), (JobState.COMPLETED, JobState.LOST), None, AttemptState.COMPLETED, None),
    Rule(
        _OPEN,
        (JobState.COMPLETED,),
        None,
        AttemptState.LOST,
        "it ended with exit code 0 and recorded no end (see its log)",
    ),
    Rule(
        _OPEN,
        (JobState.LOST,),
        None,
        AttemptState.LOST,
        "Slurm has no record of its end, and the run recorded none",
    ),
)
