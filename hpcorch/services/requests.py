"""What people asked of the scheduler, and to whom an end is put down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hpcorch.model.events import ControlRequested, JobObserved
from hpcorch.model.ids import parse_ranges

CANCEL = "cancel"
_BY_UID = "cancelled by uid "


def attributed(facts: Iterable[JobObserved], requests: Sequence[ControlRequested]) -> list[JobObserved]:
    """The same facts, where an end that somebody asked for with ``hpcorch cancel`` says so.

    Slurm's CANCELLED by another user's hand stays as it is. A task of a local pool that was stopped for a
    request was cancelled, whatever its exit code.
    """
    asked = _cancels(requests)
    return [_attributed(fact, asked.get((fact.submission, fact.run))) for fact in facts] if asked else list(facts)


def cancelled_runs(requests: Iterable[ControlRequested], submission: int) -> frozenset[int]:
    """The runs of a submission that somebody asked to cancel."""
    return frozenset(run for number, run in _cancels(requests) if number == submission)


def _cancels(requests: Iterable[ControlRequested]) -> dict[tuple[int, int], ControlRequested]:
    return {
        (request.submission, run): request
        for request in requests
        if request.action == CANCEL
        for run in parse_ranges(request.runs)
    }


def _attributed(fact: JobObserved, request: ControlRequested | None) -> JobObserved:
    if request is None:
        return fact
    reason = f"cancelled by {request.user} with hpcorch cancel"
    if fact.witness == "local":
        return replace(fact, state="CANCELLED", reason=reason) if fact.state in ("CANCELLED", "FAILED") else fact
    other_hand = fact.reason is not None and fact.reason.startswith(_BY_UID)
    if fact.state != "CANCELLED" or (other_hand and fact.reason != f"{_BY_UID}{request.uid}"):
        return fact
    return replace(fact, reason=reason)
