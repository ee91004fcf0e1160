"""Which requests of people ended which attempts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from hpcorch.model.actions import CHECKPOINT_SIGNAL, Action
from hpcorch.model.events import ControlRequested, JobObserved
from hpcorch.model.ids import AttemptId, parse_ranges
from hpcorch.model.job_states import JobState, Witness
from hpcorch.model.processes import EXIT_SIGNAL_BASE
from hpcorch.users import known_name

# As a shell reports what died of it, and as sacct prints that (see hpcorch.slurm.answers.sacct.AccountingRow).
_ENDED_BY_REQUEST = frozenset({EXIT_SIGNAL_BASE + CHECKPOINT_SIGNAL, CHECKPOINT_SIGNAL.value})


def attributed(
    facts: Iterable[JobObserved], requests: Sequence[ControlRequested], heeded: Collection[AttemptId] = ()
) -> list[JobObserved]:
    """The same facts, where an end that somebody asked for says so.

    Slurm's CANCELLED by another user's hand stays as it is, with that user's name. A task of a local pool that was
    stopped for a request was cancelled, whatever its exit code; so was an element that Slurm would have to be given
    again after a preemption.

    :param heeded: attempts that, by their journals, saved a checkpoint and ended because they were asked to. Of
        several ranks ``srun`` kills those that end later, so that Slurm's exit code may say SIGKILL (measured)
    """
    asked = _cancels(requests)
    return [_attributed(fact, asked.get((fact.submission, fact.run)), heeded) for fact in facts]


def cancelled_runs(requests: Iterable[ControlRequested], submission: int) -> frozenset[int]:
    """The runs of a submission that somebody asked to cancel."""
    return frozenset(run for number, run in _cancels(requests) if number == submission)


def reason_of(request: ControlRequested) -> str:
    """Why a run is over that a request ended."""
    return f"cancelled by {request.user} with hpcorch cancel{' --checkpoint' if request.checkpoint else ''}"


def _cancels(requests: Iterable[ControlRequested]) -> Mapping[tuple[int, int], ControlRequested]:
    return {
        (request.submission, run): request
        for request in requests
        if request.action == Action.CANCEL
        for run in parse_ranges(request.runs)
    }


def _attributed(fact: JobObserved, request: ControlRequested | None, told: Collection[AttemptId]) -> JobObserved:
    uid = fact.cancelled_by
    if request is None or (uid is not None and uid != request.uid):
        return fact if uid is None else replace(fact, reason=f"cancelled by {_person(uid)}")
    heeded = _heeded(fact, request, told)
    if fact.job_state is JobState.CANCELLED or (heeded and fact.told_by is not Witness.LOCAL):
        return replace(fact, reason=reason_of(request))
    failed_here = fact.told_by is Witness.LOCAL and fact.job_state is JobState.FAILED
    stopped = failed_here and (heeded or not request.checkpoint)
    if stopped or fact.job_state is JobState.NOT_REQUEUED:
        return replace(fact, state=JobState.CANCELLED.value, reason=reason_of(request))
    return fact


def _heeded(fact: JobObserved, request: ControlRequested, told: Collection[AttemptId]) -> bool:
    """Whether it failed as a task does that was asked to save a checkpoint and end."""
    by_code = (fact.signal or fact.exit_code) in _ENDED_BY_REQUEST
    return request.checkpoint and fact.job_state is JobState.FAILED and (by_code or fact.attempt in told)


def _person(uid: int) -> str:
    name = known_name(uid)
    return f"{name} (uid {uid})" if name else f"uid {uid}"
