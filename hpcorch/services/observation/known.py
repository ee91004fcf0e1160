"""What is known of elements before an answer of Slurm is read, and which of its facts are news.

An answer is of use only together with what the journals said *before* it was fetched: an element that waits
although an attempt of it has been seen was requeued, but one that waited first and started since was not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

from hpcorch import tunables
from hpcorch.journal.control import ControlHistory
from hpcorch.model.entities import Attempt, Run, Submission
from hpcorch.model.events import JobObserved
from hpcorch.model.ids import AttemptId, format_time, parse_time
from hpcorch.model.job_states import JobState
from hpcorch.model.states import AttemptState, SubmissionState
from hpcorch.services.observation.news import adds_to
from hpcorch.services.observation.packed import PackedArrays, packed_arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAttempts:
    """What is known before the scheduler's answer is read. Of packed arrays each element stands for a run.

    :param submissions: released submissions by array job id
    :param attempts: the highest attempt of each (run, submission) that a journal speaks of
    :param observed: the scheduler's last word on each attempt
    :param overdue: attempts whose work is over, so that their process should have ended: one that was asked to
        stop leaves when Slurm ends it, any other within a moment
    :param packed: the packed arrays as they are
    """

    submissions: Mapping[str, Submission]
    attempts: Mapping[tuple[int, int], Attempt]
    observed: Mapping[AttemptId, JobObserved]
    overdue: frozenset[AttemptId] = frozenset()
    packed: PackedArrays = field(default_factory=PackedArrays)

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
    asked = list(asked)
    wanted = {run.submission for run in asked}
    began = [one for one in attempts if one.pid is not None]
    own = {number for number, one in history.submissions.items() if one.owns_jobs}  # others go on after a run
    asked_about = {
        submission.job_id: submission
        for submission in history.submissions.values()
        if submission.job_id is not None
        and submission.submission in wanted
        and submission.state is SubmissionState.RELEASED
    }
    unsettled = ((run.run, run.submission) for run in asked if run.submission is not None)
    packed = packed_arrays(asked_about.values(), began, history.observed, unsettled)
    alone = [one for one in began if one.submission not in packed.submissions]
    latest = format_time(datetime.now(timezone.utc) - timedelta(seconds=tunables.JOB_STAYS_S))
    return KnownAttempts(
        submissions={job_id: _by_elements(one) for job_id, one in asked_about.items()},
        attempts={**_highest(alone), **packed.last},
        observed={
            **{
                place: word
                for place, word in history.observed.items()
                if place.submission not in packed.submissions
            },
            **packed.observed,
        }
        if packed.submissions
        else history.observed,
        overdue=frozenset(
            one.id
            for one in alone
            if one.state is AttemptState.STOPPED
            or (one.submission in own and _is_over(one) and (one.ended_at or latest) < latest)
        ),
        packed=packed,
    )


def _by_elements(submission: Submission) -> Submission:
    """A submission as Slurm knows it: of a packed array each element stands for a run."""
    return replace(submission, runs=tuple(submission.elements), tasks=None) if submission.is_packed else submission


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
    return adds_to(last, fact)
