"""What the scheduler's rows say that is not known yet: pure decisions, no I/O.

A row is of use only together with what the journals said *before* it was fetched: an element that waits
although an attempt of it has been seen was requeued, but one that waited first and started since was not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hpcorch.model.entities import Attempt, Submission
from hpcorch.model.events import JobObserved
from hpcorch.model.ids import AttemptId, format_time
from hpcorch.model.states import SubmissionForm
from hpcorch.model.stops import NOT_REQUEUED
from hpcorch.slurm.marks import TOKEN_PREFIX
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
# Ours, for an element that squeue has forgotten and of whose end sacct says nothing (yet).
FORGOTTEN = "FORGOTTEN"
# How the reason of a cancelled attempt begins, with the uid that sacct names behind it.
BY_UID = "cancelled by uid "
# What squeue shows as the reason of an ended element is of use in this case only. Otherwise it repeats the state,
# is why the element last waited, or misleads (22.05 shows JobLaunchFailure of what any signal killed: measured).
_REASONS_OF_ENDS = frozenset({"DependencyNeverSatisfied"})
# Reasons of an element that just waits for its turn. A pass of the scheduler swaps them for a whole array at once.
_ITS_TURN = frozenset({None, "Priority", "Resources", "JobArrayTaskLimit"})


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

    def is_over(self, attempt: AttemptId) -> bool:
        """Whether the scheduler has said that this attempt ended."""
        return attempt in self.observed and self.observed[attempt].state in _ENDED

    def with_facts(self, facts: Iterable[JobObserved]) -> Known:
        """The same with these facts known, too."""
        return replace(self, observed={**self.observed, **{_about(fact): fact for fact in facts}})


def _about(fact: JobObserved) -> AttemptId:
    return AttemptId(run=fact.run, submission=fact.submission, restart=fact.restart)


def own_rows(rows: Iterable[QueueRow], known: Known) -> list[QueueRow]:
    """The rows without those of a job that got an id of ours again, and bears another submission's token."""
    return [row for row in rows if not _is_anothers(row, known.submissions.get(row.array_job_id))]


def _is_anothers(row: QueueRow, submission: Submission | None) -> bool:
    if submission is None or submission.is_command:  # the job of a command may bear the token of its script
        return False
    return TOKEN_PREFIX in row.comment and submission.token not in row.comment


def own_accounts(rows: Iterable[AccountingRow], known: Known, directory: str) -> list[AccountingRow]:
    """The rows without those of a job that got an id of ours again: another script was submitted then.

    :param directory: the sweep directory, which the submissions' scripts are below
    """
    return [row for row in rows if _is_ours(row, known.submissions.get(row.array_job_id), directory)]


def _is_ours(row: AccountingRow, submission: Submission | None, directory: str) -> bool:
    if submission is None or not submission.script or not row.command_line:
        return True
    # A user's script keeps its own path, and has the token on its command line.
    mark = submission.token if submission.form.is_script else f"{directory}/{submission.script}"
    return mark in row.command_line


def from_queue(rows: Sequence[QueueRow], known: Known) -> list[JobObserved]:
    """New facts in an answer of squeue."""
    facts = _vanished(rows, known)
    for row in rows:
        submission = known.submissions.get(row.array_job_id)
        run = submission.run_at(row.index) if submission is not None else None
        if submission is not None and run is not None:
            facts.extend(_facts_of_row(row, submission.submission, run, known))
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
        for run in submission.runs
        if (array, submission.index_of(run)) not in shown and _never_started(run, submission, known)
    ]


def _never_started(run: int, submission: Submission, known: Known) -> bool:
    first = known.observed.get(AttemptId(run=run, submission=submission.submission, restart=0))
    return (run, submission.submission) not in known.attempts and (first is None or first.state == "PENDING")


def _facts_of_row(row: QueueRow, number: int, run: int, known: Known) -> list[JobObserved]:
    """One row as facts: about the attempt that it speaks of, and about the one that it shows to be over."""
    state = _simplified(row.state)
    seen = known.attempts.get((run, number))
    spoken_of = _spoken_of(AttemptId(run=run, submission=number, restart=seen.restart if seen else 0), state, known)
    word = JobObserved(
        submission=number,
        run=run,
        restart=spoken_of.restart,
        state=state.value,
        witness="squeue",
        reason=row.reason if not state.is_final or row.reason in _REASONS_OF_ENDS else None,
        node=row.nodes or None,
    )
    if state is JobState.PREEMPTED:
        return [word, *not_requeued(spoken_of, known)]
    if state is JobState.PENDING and seen is not None and seen.restart == word.restart:
        over = replace(word, state=JobState.REQUEUED.value, reason=None, node=None)
        return [over, replace(word, restart=word.restart + 1)]
    return [word]


def not_requeued(preempted: AttemptId, known: Known) -> list[JobObserved]:
    """That Slurm does not queue an element again after it was preempted, if nothing is known of a next attempt.

    With PreemptMode=REQUEUE squeue shows COMPLETING and then PENDING, and never PREEMPTED; with PreemptMode=CANCEL
    it shows COMPLETING and then PREEMPTED until it forgets the element (measured on 22.05, 24.11 and 26.05). News
    of a next attempt, which somebody may start by requeueing it, takes this word back.
    """
    following = next_attempt(preempted)
    if following in known.observed and known.observed[following].state != FORGOTTEN:
        return []
    return [
        JobObserved(
            submission=following.submission,
            run=following.run,
            restart=following.restart,
            state=NOT_REQUEUED,
            witness="squeue",
            reason="preempted, and Slurm does not requeue what it preempts here",
        )
    ]


def _spoken_of(attempt: AttemptId, state: JobState, known: Known) -> AttemptId:
    """The attempt that squeue's state is about: from ``attempt`` on, the first that can be in that state."""
    while _is_before(attempt, state, known):
        attempt = next_attempt(attempt)
    return attempt


def _is_before(attempt: AttemptId, state: JobState, known: Known) -> bool:
    if not state.is_final:
        return known.is_over(attempt)
    # An end is shown until it is forgotten: it is the next attempt's only where there is known to be one.
    last = known.observed.get(attempt)
    if last is None or last.state not in _BACK_IN_QUEUE:
        return False
    return last.state == JobState.REQUEUED.value or _has_successor(attempt, state, known)


def _has_successor(attempt: AttemptId, state: JobState, known: Known) -> bool:
    """Whether the element started again after an attempt, so that squeue's state is about a later one.

    With PreemptMode=CANCEL it does not: squeue goes on to show PREEMPTED (measured), and what was concluded about a
    next attempt because nothing was heard of one is no sign of a start.
    """
    following = known.observed.get(next_attempt(attempt))
    if following is None or following.state in (FORGOTTEN, NOT_REQUEUED):
        return False
    still_shown = known.observed[attempt].state == state.value != following.state
    return not (still_shown and known.is_over(next_attempt(attempt)))


def is_without_detail(word: JobObserved) -> bool:
    """Whether a word is squeue's, on the end of an attempt that ran: sacct will have more to tell of it.

    squeue cannot tell who cancelled, nor a requeue from a preemption. (Of an element that was cancelled while it
    waited, sacct may never have anything.)
    """
    if word.witness != "squeue" or word.state not in _ENDED:
        return False
    return word.node is not None or word.state == JobState.REQUEUED.value


def next_attempt(attempt: AttemptId) -> AttemptId:
    """The restart of the same element that follows."""
    return replace(attempt, restart=attempt.restart + 1)


def previous_attempt(attempt: AttemptId) -> AttemptId:
    """The restart of the same element before this one."""
    return replace(attempt, restart=attempt.restart - 1)


def from_accounting(
    rows: Sequence[AccountingRow], known: Known, alive: Collection[tuple[str, int | None]] = ()
) -> list[JobObserved]:
    """New facts in an answer of ``sacct -D``: how attempts ended.

    The rows of one element come in the order of its attempts, so the n-th one that is over speaks of restart n.

    :param alive: (array, index) that squeue showed as not over just before. Its last row, if that is over, may be
        of the attempt that squeue saw or of one before it: that is settled by the next look
    """
    facts: list[JobObserved] = []
    by_element: dict[tuple[str, int | None], list[AccountingRow]] = {}
    for row in _elements(rows, known):
        by_element.setdefault((row.array_job_id, row.index), []).append(row)
    for (array, index), attempts in by_element.items():
        submission = known.submissions.get(array)
        run = submission.run_at(index) if submission is not None else None
        if submission is None or run is None:
            continue
        settled = attempts[:-1] if (array, index) in alive else attempts
        facts.extend(
            _end_of(row, AttemptId(run=run, submission=submission.submission, restart=restart))
            for restart, row in enumerate(settled)
            if row.state.ends_attempt
        )
    return [fact for fact in facts if _is_news(fact, known)]


def _end_of(row: AccountingRow, attempt: AttemptId) -> JobObserved:
    return JobObserved(
        submission=attempt.submission,
        run=attempt.run,
        restart=attempt.restart,
        state=row.state.value,
        witness="sacct",
        reason=_why(row),
        node=row.nodes or None,
        exit_code=None if row.signal else row.exit_code,  # sacct says 0 of what a signal killed
        signal=row.signal or None,
        start=format_time(row.started_at) if row.started_at else None,
        end=format_time(row.ended_at) if row.ended_at else None,
    )


def _why(row: AccountingRow) -> str | None:
    """Who cancelled. (sacct's own Reason is why the element last waited.)"""
    return None if row.cancelled_by is None else f"{BY_UID}{row.cancelled_by}"


def _elements(rows: Sequence[AccountingRow], known: Known) -> list[AccountingRow]:
    """Rows of elements; a row of a whole array, cancelled as one while it waited, becomes one for each element.

    Elements that have rows of their own are left out of that, and of a row that stood for several at once: such a
    row may be left over from before they started (measured on 22.05). A row without index that has a node is of one
    element that began, and whose index the database does not have yet (measured on 22.05, for up to four seconds).
    """
    own = {(row.array_job_id, row.index) for row in rows if row.index is not None and not row.together}
    elements = [
        row for row in rows if row.index is not None and not (row.together and (row.array_job_id, row.index) in own)
    ]
    for row in rows:
        submission = known.submissions.get(row.array_job_id)
        if row.index is not None or submission is None:
            continue
        if submission.form is SubmissionForm.SCRIPT_JOB:
            elements.append(row)
            continue
        if row.nodes:
            continue
        indices = map(submission.index_of, submission.runs)
        missing = (i for i in indices if (row.array_job_id, i) not in own)
        elements.extend(replace(row, index=i, job_id=f"{row.array_job_id}_{i}") for i in missing)
    return elements


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
            return fact.reason != last.reason and not {fact.reason, last.reason} <= _ITS_TURN
        # To an end that squeue showed, the database adds exit code, times and who cancelled.
        return last.state in _ENDED and (fact.witness, last.witness) == ("sacct", "squeue")
    # sacct tells attempts apart, squeue shows only the latest: what sacct said of an ended one stands.
    return not (last.witness == "sacct" and last.state in _ENDED and fact.witness == "squeue")
