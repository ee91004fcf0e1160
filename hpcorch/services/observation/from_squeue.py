"""News about elements in the rows of squeue: pure decisions, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hpcorch.model.entities import Submission
from hpcorch.model.events import JobObserved
from hpcorch.model.ids import AttemptId
from hpcorch.model.job_states import BACK_IN_QUEUE, JobState, Witness
from hpcorch.model.states import AttemptState
from hpcorch.services.observation.known import KnownAttempts, is_news
from hpcorch.slurm.answers.squeue import QueueRow
from hpcorch.slurm.sbatch.executor import TOKEN_PREFIX

# Words of Slurm that mean the same to a run.
_WAITING = frozenset(
    {
        JobState.PENDING,
        JobState.REQUEUED,
        JobState.REQUEUE_FED,
        JobState.REQUEUE_HOLD,
        JobState.RESV_DEL_HOLD,
        JobState.SPECIAL_EXIT,
        JobState.LAUNCH_FAILED,
        JobState.RECONFIG_FAIL,
    }
)
_STOPPED = frozenset({JobState.SUSPENDED, JobState.STOPPED})
# What squeue shows as the reason of an ended element is of use in this case only. Otherwise it repeats the state,
# is why the element last waited, or misleads (22.05 shows JobLaunchFailure of what any signal killed: measured).
_REASONS_OF_ENDS = frozenset({"DependencyNeverSatisfied"})


def own_rows(rows: Iterable[QueueRow], known: KnownAttempts) -> list[QueueRow]:
    """The rows without those of a job that got an id of ours again, and bears another submission's token."""
    return [row for row in rows if not _is_anothers(row, known.submissions.get(row.array_job_id))]


def _is_anothers(row: QueueRow, submission: Submission | None) -> bool:
    if submission is None or submission.is_command:  # the job of a command may bear the token of its script
        return False
    return TOKEN_PREFIX in row.comment and submission.token not in row.comment


def from_queue(rows: Sequence[QueueRow], known: KnownAttempts) -> list[JobObserved]:
    """New facts in an answer of squeue."""
    facts = _vanished(rows, known)
    for row in rows:
        submission = known.submissions.get(row.array_job_id)
        run = submission.run_at(row.index) if submission is not None else None
        if submission is not None and run is not None:
            facts.extend(_facts_of_row(row, submission.submission, run, known))
    return [fact for fact in facts if is_news(fact, known)]


def _vanished(rows: Sequence[QueueRow], known: KnownAttempts) -> list[JobObserved]:
    """Elements that were cancelled while they waited.

    squeue drops such an element at once while it still shows the rest of its array, and sacct has no row of it,
    or one that says PENDING for ever (measured on 22.05, 24.11, 26.05). One that ran would be shown as over.
    """
    shown = {(row.array_job_id, row.index) for row in rows}
    alive = {array for array, _ in shown}
    return [
        JobObserved(
            submission=submission.submission,
            run=run,
            restart=0,
            state=JobState.CANCELLED.value,
            witness=Witness.SQUEUE.value,
            reason="cancelled while it waited",
        )
        for array, submission in known.submissions.items()
        if array in alive
        for run in submission.runs
        if (array, submission.index_of(run)) not in shown and _never_started(run, submission, known)
    ]


def _never_started(run: int, submission: Submission, known: KnownAttempts) -> bool:
    first = known.observed.get(AttemptId(run=run, submission=submission.submission, restart=0))
    return (run, submission.submission) not in known.attempts and (
        first is None or first.job_state is JobState.PENDING
    )


def _facts_of_row(row: QueueRow, number: int, run: int, known: KnownAttempts) -> list[JobObserved]:
    """One row as facts: about the attempt that it speaks of, and about the one that it shows to be over."""
    state = _simplified(row.state)
    seen = known.attempts.get((run, number))
    spoken_of = _spoken_of(AttemptId(run=run, submission=number, restart=seen.restart if seen else 0), state, known)
    word = JobObserved(
        submission=number,
        run=run,
        restart=spoken_of.restart,
        state=state.value,
        witness=Witness.SQUEUE.value,
        reason=row.reason if not state.is_final or row.reason in _REASONS_OF_ENDS else None,
        node=row.nodes or None,
    )
    if spoken_of in known.overdue and seen is not None and _stays(row.state, seen.state):
        return [replace(word, state=JobState.LINGERING.value, reason=None)]
    if state is JobState.PREEMPTED:
        return [word, *not_requeued(spoken_of, known)]
    if state is JobState.PENDING and seen is not None and seen.restart == word.restart:
        last = known.observed.get(spoken_of)
        preempted = None if last is None else last.preempted
        over = replace(word, state=JobState.REQUEUED.value, reason=None, node=None, preempted=preempted)
        return [over, replace(word, restart=word.restart + 1)]
    return [word]


def staying_runs(rows: Iterable[QueueRow], known: KnownAttempts) -> frozenset[int]:
    """The runs whose last attempt has recorded its end, while its job runs or is suspended."""
    found: set[int] = set()
    for row in rows:
        submission = known.submissions.get(row.array_job_id)
        run = submission.run_at(row.index) if submission is not None else None
        if submission is not None and run is not None:
            seen = known.attempts.get((run, submission.submission))
            if seen is not None and seen.state.is_final and _stays(row.state, seen.state):
                found.add(run)
    return frozenset(found)


def _stays(state: JobState, ended: AttemptState) -> bool:
    """Whether a job whose work is over is still there; of one that was stopped, until it may be requeued."""
    if ended is AttemptState.STOPPED and state is JobState.COMPLETING:
        return True
    return state is JobState.RUNNING or state in _STOPPED


def _simplified(state: JobState) -> JobState:
    if state in _WAITING:
        return JobState.PENDING
    if state in _STOPPED:
        return JobState.SUSPENDED
    if state.is_final:
        return state
    return JobState.UNKNOWN if state is JobState.UNKNOWN else JobState.RUNNING


def not_requeued(preempted: AttemptId, known: KnownAttempts) -> list[JobObserved]:
    """That Slurm does not queue an element again after it was preempted, if nothing is known of a next attempt.

    With PreemptMode=REQUEUE squeue shows COMPLETING and then PENDING, and never PREEMPTED; with PreemptMode=CANCEL
    it shows COMPLETING and then PREEMPTED until it forgets the element (measured on 22.05, 24.11 and 26.05). News
    of a next attempt, which somebody may start by requeueing it, takes this word back.
    """
    following = preempted.next_restart()
    if following in known.observed and known.observed[following].job_state is not JobState.FORGOTTEN:
        return []
    return [
        JobObserved(
            submission=following.submission,
            run=following.run,
            restart=following.restart,
            state=JobState.NOT_REQUEUED.value,
            witness=Witness.SQUEUE.value,
            reason="preempted; this cluster does not requeue preempted jobs",
        )
    ]


def _spoken_of(attempt: AttemptId, state: JobState, known: KnownAttempts) -> AttemptId:
    """The attempt that squeue's state is about: from ``attempt`` on, the first that can be in that state."""
    while _is_before(attempt, state, known):
        attempt = attempt.next_restart()
    return attempt


def _is_before(attempt: AttemptId, state: JobState, known: KnownAttempts) -> bool:
    if not state.is_final:
        return known.is_over(attempt)
    # An end is shown until it is forgotten: it is the next attempt's only where there is known to be one.
    last = known.observed.get(attempt)
    if last is None or last.job_state not in BACK_IN_QUEUE:
        return False
    return last.job_state is JobState.REQUEUED or _has_successor(attempt, state, known)


def _has_successor(attempt: AttemptId, state: JobState, known: KnownAttempts) -> bool:
    """Whether the element started again after an attempt, so that squeue's state is about a later one.

    With PreemptMode=CANCEL it does not: squeue goes on to show PREEMPTED (measured), and what was concluded about a
    next attempt because nothing was heard of one is no sign of a start.
    """
    following = known.observed.get(attempt.next_restart())
    if following is None or following.job_state in (JobState.FORGOTTEN, JobState.NOT_REQUEUED):
        return False
    still_shown = known.observed[attempt].job_state is state is not following.job_state
    return not (still_shown and known.is_over(attempt.next_restart()))


def is_without_detail(word: JobObserved) -> bool:
    """Whether a word is squeue's, on the end of an attempt that ran: sacct will have more to tell of it.

    squeue cannot tell who cancelled, nor a requeue from a preemption. (Of an element that was cancelled while it
    waited, sacct may never have anything.)
    """
    if word.told_by is not Witness.SQUEUE or not word.job_state.ends_attempt:
        return False
    return word.node is not None or word.job_state is JobState.REQUEUED
