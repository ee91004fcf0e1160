"""What the scheduler's rows say that is not known yet: pure decisions, no I/O.

A row is of use only together with what the journals said *before* it was fetched: an element that waits
although an attempt of it has been seen was requeued, but one that waited first and started since was not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hpcorch.model.entities import Attempt, Submission
from hpcorch.model.events import JobObserved
from hpcorch.model.ids import AttemptId, format_time
from hpcorch.slurm.sacct import AccountingRow
from hpcorch.slurm.squeue import QueueRow
from hpcorch.slurm.states import JobState

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
_ENDED = frozenset(state.value for state in JobState if state.ends_attempt)
# After these words an element may run again, and what squeue says next is about the next restart.
_BACK_IN_QUEUE = frozenset({"REQUEUED", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known before the scheduler's answer is read.

    :param submissions: released submissions by array job id
    :param attempts: the highest attempt of each (run, submission) that a journal speaks of
    :param observed: the scheduler's last word on each attempt
    """

    submissions: Mapping[str, Submission]
    attempts: Mapping[tuple[int, int], Attempt]
    observed: Mapping[AttemptId, JobObserved]


def from_queue(rows: Sequence[QueueRow], known: Known) -> list[JobObserved]:
    """New facts in an answer of squeue."""
    facts = _vanished(rows, known)
    for row in rows:
        submission = known.submissions.get(row.array_job_id)
        run = _run_of(submission, row.index)
        if submission is None or run is None:
            continue
        state = _simplified(row.state)
        seen = known.attempts.get((run, submission.submission))
        facts.extend(_facts_of_row(row, state, seen, _first_word(submission, run, state), known))
    return [fact for fact in facts if _is_news(fact, known)]


def _vanished(rows: Sequence[QueueRow], known: Known) -> list[JobObserved]:
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
            witness="squeue",
            reason="cancelled while it waited",
        )
        for array, submission in known.submissions.items()
        if array in alive
        for index, run in enumerate(submission.runs)
        if (array, index) not in shown and _never_started(run, submission, known)
    ]


def _never_started(run: int, submission: Submission, known: Known) -> bool:
    first = known.observed.get(AttemptId(run=run, submission=submission.submission, restart=0))
    return (run, submission.submission) not in known.attempts and (first is None or first.state == "PENDING")


def _first_word(submission: Submission, run: int, state: JobState) -> JobObserved:
    return JobObserved(submission=submission.submission, run=run, restart=0, state=state.value, witness="squeue")


def _facts_of_row(
    row: QueueRow, state: JobState, seen: Attempt | None, word: JobObserved, known: Known
) -> list[JobObserved]:
    """One row as facts: about the attempt that it speaks of, and about the one that it shows to be over."""
    word = replace(word, reason=row.reason, node=row.nodes or None)
    if seen is None:
        return [word]
    this = AttemptId(run=seen.run, submission=seen.submission, restart=seen.restart)
    if state is JobState.PENDING:
        over = replace(word, restart=seen.restart, state=JobState.REQUEUED.value, reason=None, node=None)
        ended = this in known.observed and known.observed[this].state in _ENDED
        return [*([] if ended else [over]), replace(word, restart=seen.restart + 1)]
    later = this in known.observed and known.observed[this].state in _BACK_IN_QUEUE
    return [replace(word, restart=seen.restart + later)]


def from_accounting(rows: Sequence[AccountingRow], known: Known) -> list[JobObserved]:
    """New facts in an answer of ``sacct -D``: how attempts ended.

    The rows of one element come in the order of its attempts, so the n-th one that is over speaks of restart n.
    """
    facts = []
    seen: dict[str, int] = {}
    for row in _elements(rows, known):
        submission = known.submissions.get(row.array_job_id)
        run = _run_of(submission, row.index)
        if submission is None or run is None:
            continue
        restart = seen.get(row.job_id, 0)
        seen[row.job_id] = restart + 1
        if not row.state.ends_attempt:
            continue
        facts.append(
            JobObserved(
                submission=submission.submission,
                run=run,
                restart=restart,
                state=row.state.value,
                witness="sacct",
                reason=row.reason if row.cancelled_by is None else f"cancelled by uid {row.cancelled_by}",
                node=row.nodes or None,
                exit_code=row.exit_code,
                signal=row.signal or None,
                start=format_time(row.started_at) if row.started_at else None,
                end=format_time(row.ended_at) if row.ended_at else None,
            )
        )
    return [fact for fact in facts if _is_news(fact, known)]


def _elements(rows: Sequence[AccountingRow], known: Known) -> list[AccountingRow]:
    """Rows of elements; a row of a whole array, cancelled as one while it waited, becomes one for each element.

    Elements that have rows of their own are left out of that.
    """
    own = {(row.array_job_id, row.index) for row in rows if row.index is not None}
    elements = [row for row in rows if row.index is not None]
    for row in rows:
        submission = known.submissions.get(row.array_job_id)
        if row.index is None and submission is not None:
            missing = (i for i in range(len(submission.runs)) if (row.array_job_id, i) not in own)
            elements.extend(replace(row, index=i, job_id=f"{row.array_job_id}_{i}") for i in missing)
    return elements


def _run_of(submission: Submission | None, index: int | None) -> int | None:
    if submission is None or index is None or not 0 <= index < len(submission.runs):
        return None
    return submission.runs[index]


def _simplified(state: JobState) -> JobState:
    if state in _WAITING:
        return JobState.PENDING
    if state in _STOPPED:
        return JobState.SUSPENDED
    if state.is_final:
        return state
    return JobState.UNKNOWN if state is JobState.UNKNOWN else JobState.RUNNING


def _is_news(fact: JobObserved, known: Known) -> bool:
    """Whether a fact says something that a user would notice and that was not known."""
    last = known.observed.get(AttemptId(run=fact.run, submission=fact.submission, restart=fact.restart))
    if last is None:
        # A running element whose journal runs tells nothing new.
        seen = known.attempts.get((fact.run, fact.submission))
        return not (fact.state == "RUNNING" and seen is not None and seen.restart == fact.restart)
    if fact.state == last.state:
        if fact.state == "PENDING":
            return fact.reason != last.reason
        return fact.exit_code is not None and last.exit_code is None
    # sacct tells attempts apart, squeue shows only the latest: what sacct said of an ended one stands.
    return not (last.witness == "sacct" and last.state in _ENDED and fact.witness == "squeue")
