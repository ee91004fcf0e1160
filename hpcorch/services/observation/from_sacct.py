"""News about the end of attempts in the rows of ``sacct -D``: pure decisions, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from hpcorch.model.entities import Submission
from hpcorch.model.events import JobObserved
from hpcorch.model.ids import AttemptId, format_time
from hpcorch.model.job_states import Witness
from hpcorch.model.states import SubmissionForm
from hpcorch.services.observation.known import KnownAttempts, is_news
from hpcorch.slurm.answers.sacct import AccountingRow


def own_accounts(
    rows: Iterable[AccountingRow], known: KnownAttempts, directories: Collection[str]
) -> list[AccountingRow]:
    """The rows without those of a job that got an id of ours again: another script was submitted then.

    :param directories: the sweep directory, which the submissions' scripts are below, wherever it was
    """
    return [row for row in rows if _is_ours(row, known.submissions.get(row.array_job_id), directories)]


def _is_ours(row: AccountingRow, submission: Submission | None, directories: Collection[str]) -> bool:
    if submission is None or not submission.script or not row.command_line:
        return True
    # A user's script keeps its own path, and has the token on its command line.
    if submission.form.is_script:
        return submission.token in row.command_line
    return any(f"{directory}/{submission.script}" in row.command_line for directory in directories)


def from_accounting(
    rows: Sequence[AccountingRow], known: KnownAttempts, alive: Collection[tuple[str, int | None]] = ()
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
    return [fact for fact in facts if is_news(fact, known)]


def _end_of(row: AccountingRow, attempt: AttemptId) -> JobObserved:
    """A row as a fact. (sacct's own Reason is left out: it is why the element last waited.)"""
    return JobObserved(
        submission=attempt.submission,
        run=attempt.run,
        restart=attempt.restart,
        state=row.state.value,
        witness=Witness.SACCT.value,
        node=row.nodes or None,
        exit_code=None if row.signal else row.exit_code,  # sacct says 0 of what a signal killed
        signal=row.signal or None,
        start=format_time(row.started_at) if row.started_at else None,
        end=format_time(row.ended_at) if row.ended_at else None,
        cancelled_by=row.cancelled_by,
    )


def _elements(rows: Sequence[AccountingRow], known: KnownAttempts) -> list[AccountingRow]:
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
