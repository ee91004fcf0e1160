"""What follows from the words of Slurm and of the journals together, and what does not follow yet. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

from hpcorch import tunables
from hpcorch.journal.control import ControlHistory
from hpcorch.model.actions import CHECKPOINT_SIGNAL
from hpcorch.model.entities import Attempt
from hpcorch.model.events import JobObserved
from hpcorch.model.ids import AttemptId, format_time
from hpcorch.model.job_states import JobState
from hpcorch.model.states import AttemptState
from hpcorch.services.observation.from_squeue import is_without_detail
from hpcorch.services.observation.known import KnownAttempts


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
    tasks = {number for number, one in history.submissions.items() if not one.form.is_script}
    return frozenset(
        (one.run, one.submission)
        for one in attempts
        if one.submission in tasks and one.pid is not None and one.state.is_final and one.slurm_state is None
    )


def heeded_signals(attempts: Iterable[Attempt]) -> frozenset[AttemptId]:
    """Attempts that ended because they were asked to save a checkpoint and end."""
    return frozenset(attempt.id for attempt in attempts if attempt.signal == CHECKPOINT_SIGNAL.name)


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
