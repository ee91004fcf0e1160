"""What to conclude when Slurm no longer shows an element whose run is not over: pure decisions, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from hpcorch import tunables
from hpcorch.model.events import JobObserved
from hpcorch.model.ids import AttemptId, format_time, parse_time
from hpcorch.model.job_states import JobState, Witness
from hpcorch.services.observation.from_squeue import not_requeued
from hpcorch.services.observation.known import KnownAttempts

# These words promise that the element runs again, so that a run is not over with them.
_PREEMPTED = frozenset({JobState.PREEMPTED})
_TO_BE_CONTINUED = _PREEMPTED | {JobState.REQUEUED}
# Words that nothing more is concluded from, until there is news.
_CONCLUDED = frozenset({JobState.LOST, JobState.NOT_REQUEUED})


def from_silence(
    elements: Iterable[tuple[int, int]], known: KnownAttempts, *, now: datetime, accounting: bool
) -> list[JobObserved]:
    """What it means that squeue does not show elements as alive, and nobody told of an end of their runs.

    squeue forgets a job some minutes after its end, so sacct has it by then, or is late, or was never told. That
    is noted first, and concluded from when it has not changed for a time: an element that never started, or was
    to start again, was cancelled while it waited; of one that ran nobody knows. One that was preempted, and of
    which sacct had nothing more to tell for so long, was not requeued.

    :param elements: (run, submission) of each; the submissions are known
    :param now: the current time, aware
    :param accounting: whether there is a database that may still speak
    """
    facts = []
    for run, submission in elements:
        seen = known.attempts.get((run, submission))
        attempt = AttemptId(run=run, submission=submission, restart=seen.restart if seen else 0)
        while _is_to_be_continued(attempt, known) or attempt.next_restart() in known.observed:
            attempt = attempt.next_restart()
        last = known.observed.get(attempt)
        if last is None and _is_to_be_continued(preempted := attempt.previous_restart(), known, _PREEMPTED):
            if _is_long_ago(known.observed[preempted], now):
                facts.extend(not_requeued(preempted, known))
        elif known.is_lingering(attempt) and seen is not None and seen.state.is_final:
            facts.append(_forgotten(attempt, last, now))
        elif not known.is_over(attempt) and (last is None or last.job_state not in _CONCLUDED):
            ran = (seen is not None and seen.restart == attempt.restart) or (last is not None and bool(last.node))
            facts.extend(_silence(attempt, last, now, ran=ran, accounting=accounting))
    return facts


def _is_to_be_continued(
    attempt: AttemptId, known: KnownAttempts, words: Collection[JobState] = _TO_BE_CONTINUED
) -> bool:
    return attempt in known.observed and known.observed[attempt].job_state in words


def _is_long_ago(word: JobObserved, now: datetime) -> bool:
    """Whether all that may have followed an end would be in the database by now. squeue's word has no time."""
    return word.end is None or now - parse_time(word.end) >= timedelta(seconds=tunables.SACCT_LATE_S)


def _silence(
    attempt: AttemptId, last: JobObserved | None, now: datetime, *, ran: bool, accounting: bool
) -> list[JobObserved]:
    word = _forgotten(attempt, last, now)
    noted = last.end if last is not None and last.job_state is JobState.FORGOTTEN else None
    if accounting and noted is None:
        return [word]
    if noted is not None and now - parse_time(noted) < timedelta(seconds=tunables.SACCT_LATE_S):
        return []
    if not ran and attempt.restart > 0:
        return [
            replace(
                word,
                state=JobState.CANCELLED.value,
                reason="its last attempt was stopped, and it did not start again",
            )
        ]
    if not ran and accounting:
        return [replace(word, state=JobState.CANCELLED.value, reason="cancelled while it waited")]
    reason = "Slurm has forgotten the job, and the run recorded no end"
    return [replace(word, state=JobState.LOST.value, reason=reason)]


def _forgotten(attempt: AttemptId, last: JobObserved | None, now: datetime) -> JobObserved:
    return JobObserved(
        submission=attempt.submission,
        run=attempt.run,
        restart=attempt.restart,
        state=JobState.FORGOTTEN.value,
        witness=Witness.SQUEUE.value,
        reason="Slurm has forgotten the job, and its end is not known yet",
        node=last.node if last is not None else None,
        end=format_time(now),
    )
