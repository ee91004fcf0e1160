"""How the tasks of one run coordinate. Rank 0 leads, and only rank 0 writes a journal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from hpcorch import tunables
from hpcorch.model.events import Fact
from hpcorch.runtime.context.claim import read_attempt
from hpcorch.runtime.context.place import Place

T = TypeVar("T")


def leader_said(place: Place, *kinds: type[Fact], wait_s: float | None = None) -> Fact | None:
    """The first fact of one of these kinds in rank 0's journal; None if none came within the waiting time.

    :param wait_s: as long as a task may take to begin, by default
    """

    def look() -> Fact | None:
        facts = (event.fact for event in read_attempt(place.layout, place.attempt))
        return next((fact for fact in facts if isinstance(fact, kinds)), None)

    return await_leader(look, wait_s=tunables.LEADER_WAIT_S if wait_s is None else wait_s)


def await_leader(look: Callable[[], T | None], *, wait_s: float) -> T | None:
    """What ``look`` finds of rank 0; None if it found nothing within the waiting time."""
    from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_random_exponential

    waiting = Retrying(
        retry=retry_if_result(lambda said: said is None),
        wait=wait_random_exponential(multiplier=0.1, max=2.0),
        stop=stop_after_delay(wait_s),
        sleep=time.sleep,
    )
    try:
        return waiting(look)
    except RetryError:
        return None


def torch_distributed() -> Any:
    """``torch.distributed`` where the task has set it up, else None: then ranks cannot agree on anything."""
    distributed = sys.modules.get("torch.distributed")
    return distributed if distributed is not None and distributed.is_initialized() else None


def agreed(decision: tuple[bool, ...], distributed: Any) -> tuple[bool, ...]:
    """Rank 0's decision. Each rank makes this call at the same place of its loop."""
    shared = [decision]
    distributed.broadcast_object_list(shared, src=0)
    return shared[0]
