"""What is known of elements before an answer of Slurm is read, and which of its facts are news.

An answer is of use only together with what the journals said *before* it was fetched: an element that waits
although an attempt of it has been seen was requeued, but one that waited first and started since was not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

from hpcorch import tunables
from hpcorch.journal.control import ControlHistory
from hpcorch.model.entities import Attempt, Run, Submission
from hpcorch.model.events import JobObserved
from hpcorch.model.ids import AttemptId, format_time, parse_time
from hpcorch.model.job_states import JobState, Witness
from hpcorch.model.states import AttemptState, SubmissionState

# Reasons of an element that just waits for its turn. A pass of the scheduler swaps them for a whole array at once.
_ITS_TURN = frozenset({None, "Priority", "Resources", "JobArrayTaskLimit"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAttempts:
    """What is known before the scheduler's answer is read.

    :param submissions: released submissions by array job id
    :param attempts: the highest attempt of each (run, submission) that a journal speaks of
    :param observed: the scheduler's last word on each attempt
    :param overdue: attempts whose work is over, so that their process should have ended: one that was asked to
        stop leaves when Slurm ends it, any other within a moment
    """

    submissions: Mapping[str, Submission]
    attempts: Mapping[tuple[int, int], Attempt]
    observed: Mapping[AttemptId, JobObserved]
    overdue: frozenset[AttemptId] = frozenset()

    @property
    def since(self) -> datetime:
        """When the first of the submissions was intended. There is at least one."""
        return min(parse_time(submission.intended_at) for submission in self.submissions.values())

    def is_over(self, attempt: AttemptId) -> bool:
        """Whether the scheduler has said that this attempt ended."""
        return attempt in self.observed and self.observed[attempt].job_state.ends_attempt

    def is_lingering(self, attempt: AttemptId) -> bool:
        """Whether its process was seen, last, after its work was over."""
        return attempt in self.observed and self.observed[attempt].job_state is JobState.LINGERING

    def with_facts(self, facts: Iterable[JobObserved]) -> KnownAttempts:
        """The same with these facts known, too."""
        return replace(self, observed={**self.observed, **{fact.attempt: fact for fact in facts}})


def known_attempts(asked: Iterable[Run], history: ControlHistory, attempts: Iterable[Attempt]) -> KnownAttempts:
    """What is known of the runs that Slurm is to be asked about.

    :param attempts: of the sweep, as the ledger has them
    """
    wanted = {run.submission for run in asked}
    began = [one for one in attempts if one.pid is not None]
    scripts = {number for number, one in history.submissions.items() if one.form.is_script}  # go on after a command
    latest = format_time(datetime.now(timezone.utc) - timedelta(seconds=tunables.JOB_STAYS_S))
    return KnownAttempts(
        submissions={
            submission.job_id: submission
            for submission in history.submissions.values()
            if submission.job_id is not None
            and submission.submission in wanted
            and submission.state is SubmissionState.RELEASED
        },
        attempts=_highest(began),
        observed=history.observed,
        overdue=frozenset(
            one.id
            for one in began
            if one.state is AttemptState.STOPPED
            or (one.submission not in scripts and _is_over(one) and (one.ended_at or latest) < latest)
        ),
    )


def _is_over(attempt: Attempt) -> bool:
    """Whether an attempt has recorded its end and Slurm has not told of one."""
    return attempt.state.is_final and attempt.slurm_state is None


def _highest(attempts: Iterable[Attempt]) -> dict[tuple[int, int], Attempt]:
    """The highest restart of each (run, submission)."""
    highest: dict[tuple[int, int], Attempt] = {}
    for attempt in sorted(attempts, key=lambda item: item.restart):
        highest[attempt.run, attempt.submission] = attempt
    return highest


def is_news(fact: JobObserved, known: KnownAttempts) -> bool:
    """Whether a fact says something that a user would notice and that was not known."""
    last = known.observed.get(fact.attempt)
    if last is None:
        # A running element whose journal runs tells nothing new.
        seen = known.attempts.get((fact.run, fact.submission))
        return not (fact.job_state is JobState.RUNNING and seen is not None and seen.restart == fact.restart)
    if fact.state == last.state:
        if fact.job_state is JobState.PENDING:
            return fact.reason != last.reason and not {fact.reason, last.reason} <= _ITS_TURN
        # To an end that squeue showed, the database adds exit code, times and who cancelled.
        return last.job_state.ends_attempt and (fact.told_by, last.told_by) == (Witness.SACCT, Witness.SQUEUE)
    # sacct tells attempts apart, squeue shows only the latest: what sacct said of an ended one stands.
    return not (last.told_by is Witness.SACCT and last.job_state.ends_attempt and fact.told_by is Witness.SQUEUE)
