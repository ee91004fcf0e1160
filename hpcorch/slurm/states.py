"""Slurm's job states (squeue(1), JOB STATE CODES; sacct(1)) as one enum."""

from __future__ import annotations

import logging
from enum import Enum

_log = logging.getLogger(__name__)


class JobState(str, Enum):
    """The state of a job or array element, as squeue and sacct spell it out."""

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
    UNKNOWN = "UNKNOWN"  # not Slurm's: text that this version does not know

    @property
    def is_final(self) -> bool:
        """The job is over: it stays in this state unless somebody requeues it."""
        return self in _FINAL

    @property
    def ends_attempt(self) -> bool:
        """This execution is over, whatever becomes of the job; ``sacct -D`` keeps such a row per attempt."""
        return self in _FINAL or self is JobState.REQUEUED

    @classmethod
    def parse(cls, text: str) -> JobState:
        """Read a state as Slurm prints it, such as ``CANCELLED by 1000`` or a cut-off ``OUT_OF_ME+``.

        Text that no state has becomes ``UNKNOWN`` and a line in the log: a newer Slurm must not stop a sweep.
        """
        word, *_ = text.split() or [""]
        if word.endswith("+"):
            matches = [state for state in cls if state.value.startswith(word[:-1])]
            if len(matches) == 1:
                return matches[0]
        elif word in cls.__members__:
            return cls[word]
        _log.warning("Slurm reports the job state %r, which is not known here; it counts as UNKNOWN.", text)
        return cls.UNKNOWN


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
