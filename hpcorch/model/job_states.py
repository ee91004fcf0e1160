"""The states of a job or array element (Slurm's, as in squeue(1) and sacct(1), and ours), and who tells them."""

from __future__ import annotations

import logging
from enum import Enum


class JobState(str, Enum):
    """The last word on one start of an array element, as ``job-observed`` records it."""

    BOOT_FAIL = "BOOT_FAIL"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"
    COMPLETING = "COMPLETING"
    CONFIGURING = "CONFIGURING"
    DEADLINE = "DEADLINE"
    EXPEDITING = "EXPEDITING"
    FAILED = "FAILED"
    LAUNCH_FAILED = "LAUNCH_FAILED"
    NODE_FAIL = "NODE_FAIL"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    PENDING = "PENDING"
    POWER_UP_NODE = "POWER_UP_NODE"
    PREEMPTED = "PREEMPTED"
    RECONFIG_FAIL = "RECONFIG_FAIL"
    REQUEUED = "REQUEUED"
    REQUEUE_FED = "REQUEUE_FED"
    REQUEUE_HOLD = "REQUEUE_HOLD"
    RESIZING = "RESIZING"
    RESV_DEL_HOLD = "RESV_DEL_HOLD"
    REVOKED = "REVOKED"
    RUNNING = "RUNNING"
    SIGNALING = "SIGNALING"
    SPECIAL_EXIT = "SPECIAL_EXIT"
    STAGE_OUT = "STAGE_OUT"
    STOPPED = "STOPPED"
    SUSPENDED = "SUSPENDED"
    TIMEOUT = "TIMEOUT"
    UPDATE_DB = "UPDATE_DB"

    # Slurm has no word for these.
    UNKNOWN = "UNKNOWN"  # a word that this version does not know
    FORGOTTEN = "FORGOTTEN"  # squeue shows the element no more, and sacct says nothing of its end (yet)
    LINGERING = "LINGERING"  # the attempt has recorded its end, and its process has not ended
    NOT_REQUEUED = "NOT_REQUEUED"  # preempted, and not queued again (PreemptMode=CANCEL, or --no-requeue)
    LEFT_OVER = "LEFT_OVER"  # its packed array is over, and no task of that came to the run
    LOST = "LOST"  # Slurm has no record of it, and never will

    def __str__(self) -> str:
        return self.value

    @property
    def is_slurms(self) -> bool:
        """Whether Slurm itself says so."""
        return self not in _OURS

    @property
    def is_final(self) -> bool:
        """The job is over: it stays in this state unless somebody requeues it."""
        return self in _FINAL

    @property
    def ends_attempt(self) -> bool:
        """This execution is over, whatever becomes of the job; ``sacct -D`` keeps such a row per attempt."""
        return self in _FINAL or self is JobState.REQUEUED

    @classmethod
    def of(cls, word: str) -> JobState:
        """The state that a recorded word stands for; ``UNKNOWN`` if this version does not know it."""
        return _BY_WORD.get(word, cls.UNKNOWN)


_OURS = frozenset(
    {
        *(JobState.UNKNOWN, JobState.FORGOTTEN, JobState.LINGERING),
        *(JobState.NOT_REQUEUED, JobState.LEFT_OVER, JobState.LOST),
    }
)
_BY_WORD = {state.value: state for state in JobState}
# LAUNCH_FAILED and RECONFIG_FAIL are flags on a job that is requeued and held; REVOKED means that a sibling
# cluster of the federation runs the job, so that here it is over.
_FINAL = frozenset(
    {
        JobState.BOOT_FAIL,
        JobState.CANCELLED,
        JobState.COMPLETED,
        JobState.DEADLINE,
        JobState.FAILED,
        JobState.NODE_FAIL,
        JobState.OUT_OF_MEMORY,
        JobState.PREEMPTED,
        JobState.REVOKED,
        JobState.TIMEOUT,
    }
)


class Witness(str, Enum):
    """Who said in which state a job is."""

    SQUEUE = "squeue"
    SACCT = "sacct"
    LOCAL = "local"  # the process that executed it on this machine
    REQUEST = "request"  # a person, of a run that no scheduler had yet
    UNKNOWN = "unknown"  # a word that this version does not know

    def __str__(self) -> str:
        return self.value

    @classmethod
    def of(cls, word: str) -> Witness:
        """The witness that a recorded word stands for; ``UNKNOWN`` if this version does not know it."""
        return _WITNESSES.get(word, cls.UNKNOWN)


_WITNESSES = {witness.value: witness for witness in Witness}

_log = logging.getLogger(__name__)
_SLURMS = {state.value: state for state in JobState if state.is_slurms}


def parse_state(text: str) -> JobState:
    """Read a state as Slurm prints it, such as ``CANCELLED by 1000`` or a cut-off ``OUT_OF_ME+``.

    Text that no state has becomes ``UNKNOWN`` and a line in the log: a newer Slurm must not stop a sweep.
    """
    word, *_ = text.split() or [""]
    if word.endswith("+"):
        matches = [state for state in _SLURMS.values() if state.value.startswith(word[:-1])]
        if len(matches) == 1:
            return matches[0]
    elif word in _SLURMS:
        return _SLURMS[word]
    _log.warning("Slurm reports the job state %r, which is not known here; it counts as UNKNOWN.", text)
    return JobState.UNKNOWN


BACK_IN_QUEUE = frozenset({JobState.REQUEUED, JobState.PREEMPTED, JobState.NODE_FAIL, JobState.BOOT_FAIL})
"""After these words an element may run again, and what Slurm says next is about the next restart."""
LET_GO = frozenset({JobState.NOT_REQUEUED, JobState.LEFT_OVER})
"""After these words Slurm has a run no more that did not come to an end, and that may be submitted again."""
