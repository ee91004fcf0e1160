"""Which ends of an attempt count as failures of its run, and of which class, for retry budgets."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from hpcorch.model.entities import Attempt
from hpcorch.model.states import AttemptState


class FailureClass(str, Enum):
    """Why a run did not get to its end by itself. ``max_retries`` counts each class apart."""

    FAILED = "FAILED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    TIMEOUT = "TIMEOUT"
    NODE_FAIL = "NODE_FAIL"
    LOST = "LOST"


_CLASSES: Mapping[AttemptState, FailureClass] = {
    AttemptState.FAILED: FailureClass.FAILED,
    AttemptState.OUT_OF_MEMORY: FailureClass.OUT_OF_MEMORY,
    AttemptState.TIMEOUT: FailureClass.TIMEOUT,
    AttemptState.DEADLINE: FailureClass.TIMEOUT,
    AttemptState.NODE_FAIL: FailureClass.NODE_FAIL,
    AttemptState.BOOT_FAIL: FailureClass.NODE_FAIL,
    AttemptState.LOST: FailureClass.LOST,
}


def failure_class(attempt: Attempt) -> FailureClass | None:
    """The class of failure that an attempt is, ``None`` where it is none.

    An attempt that the cluster interrupted (PREEMPTED, REQUEUED), that somebody cancelled, or that executed
    nothing (REFUSED, SKIPPED, SUPERSEDED) is no failure of its run; neither is one that is not over.
    """
    return _CLASSES.get(attempt.state)
