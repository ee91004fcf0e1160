"""What follows from the words of Slurm, of the journals and of people together, and what not yet. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from hpcorch import tunables
from hpcorch.journal.control import ControlHistory
from hpcorch.model.actions import CHECKPOINT_SIGNAL, Action
from hpcorch.model.entities import Attempt
from hpcorch.model.events import ControlRequested, JobObserved
from hpcorch.model.ids import AttemptId, format_time, parse_ranges
from hpcorch.model.job_states import LET_GO, JobState, Witness
from hpcorch.model.processes import EXIT_SIGNAL_BASE
from hpcorch.model.states import AttemptState
from hpcorch.services.observation.from_squeue import is_without_detail
from hpcorch.services.observation.known import KnownAttempts
from hpcorch.users import known_name

# As a shell reports what died of it, and as sacct prints that (see hpcorch.slurm.answers.sacct.AccountingRow).
_ENDED_BY_REQUEST = frozenset({EXIT_SIGNAL_BASE + CHECKPOINT_SIGNAL, CHECKPOINT_SIGNAL.value})


def unexplained_attempts(attempts: Iterable[Attempt], history: ControlHistory) -> frozenset[tuple[int, int]]:
    """(run, submission) of attempts of whose end squeue alone has told, or nobody: sacct knows more, if late."""
    told = {(word.run, word.submission) for word in history.observed.values() if is_without_detail(word)}
    return frozenset(
        told
        | {
            (attempt.run, attempt.submission)
            for attempt in attempts
            if attempt.state is AttemptState.REQUEUED and attempt.slurm_state is None
        }
    )


def lingering_attempts(history: ControlHistory) -> frozenset[tuple[int, int]]:
    """(run, submission) of attempts whose process was seen, last, after their work was over."""
    words = history.observed.values()
    return frozenset((word.run, word.submission) for word in words if word.job_state is JobState.LINGERING)


def silent_attempts(attempts: Iterable[Attempt], history: ControlHistory) -> frozenset[tuple[int, int]]:
    """(run, submission) of attempts that have recorded their end, and of whose process nobody has told since."""
    tasks = {number for number, one in history.submissions.items() if one.owns_jobs}
    return frozenset(
        (one.run, one.submission)
        for one in attempts
        if one.submission in tasks and one.pid is not None and one.state.is_final and one.slurm_state is None
    )


def heeded_signals(known: KnownAttempts) -> frozenset[AttemptId]:
    """Attempts that ended because they were asked to save a checkpoint and end.

    Those of packed tasks are left out: the exit code of each is known.
    """
    return frozenset(
        attempt.id
        for attempt in known.attempts.values()
        if attempt.signal == CHECKPOINT_SIGNAL.name and attempt.submission not in known.packed.submissions
    )


def certain(facts: Iterable[JobObserved], known: KnownAttempts) -> list[JobObserved]:
    """The facts that can be concluded from now.

    Slurm's COMPLETED about a run without a recorded end means that nobody knows its result. Since a network file
    system may show the end late, that is concluded only when the settling time has passed since.
    """
    latest = format_time(datetime.now(timezone.utc) - timedelta(seconds=tunables.JOURNAL_LATE_S))
    scripts = {one.submission for one in known.submissions.values() if one.ends_by_slurm}  # Slurm's word is all
    return [
        fact
        for fact in facts
        if fact.job_state is not JobState.COMPLETED
        or fact.submission in scripts
        or (fact.end is not None and fact.end < latest)
        or _awaits_the_other_ranks(fact, known)
        or known.is_lingering(fact.attempt)
    ]


def _awaits_the_other_ranks(fact: JobObserved, known: KnownAttempts) -> bool:
    attempt = known.attempts.get((fact.run, fact.submission))
    return attempt is not None and attempt.state is AttemptState.COMPLETING


def attributed(
    facts: Iterable[JobObserved], requests: Sequence[ControlRequested], heeded: Collection[AttemptId] = ()
) -> list[JobObserved]:
    """The same facts, where an end that somebody asked for says so.

    Slurm's CANCELLED by another user's hand stays as it is, with that user's name. A task of a local pool that was
    stopped for a request was cancelled, whatever its exit code; so was a run that Slurm would have to be given
    again.

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
    if stopped or fact.job_state in LET_GO:
        return replace(fact, state=JobState.CANCELLED.value, reason=reason_of(request))
    return fact


def _heeded(fact: JobObserved, request: ControlRequested, told: Collection[AttemptId]) -> bool:
    """Whether it failed as a task does that was asked to save a checkpoint and end."""
    by_code = (fact.signal or fact.exit_code) in _ENDED_BY_REQUEST
    return request.checkpoint and fact.job_state is JobState.FAILED and (by_code or fact.attempt in told)


def _person(uid: int) -> str:
    name = known_name(uid)
    return f"{name} (uid {uid})" if name else f"uid {uid}"
