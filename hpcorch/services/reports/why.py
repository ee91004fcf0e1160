"""Why a run is in its state: what it waits for, since when, until when, and what would let it start sooner."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Any

from hpcorch.errors import UnavailableError, UsageError
from hpcorch.ledger import Ledger
from hpcorch.model.entities import Attempt, Run, Submission
from hpcorch.model.ids import format_time
from hpcorch.model.job_states import JobState
from hpcorch.model.states import RunState
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.reports.throttled_wait import ARRAY_LIMIT, share_of
from hpcorch.services.selection.selectors import Selector, one_of, select_runs
from hpcorch.services.tending.refresh import RefreshResult, bring_up_to_date
from hpcorch.services.tending.unsubmitted import CURE, retries_to_come
from hpcorch.services.throttling.queue_view import HELD
from hpcorch.slurm import commands
from hpcorch.slurm.answers.squeue import QueueRow, Waiting, parse_waiting
from hpcorch.slurm.choose import slurm_client
from hpcorch.slurm.protocol import SlurmClient
from hpcorch.slurm.reasons import Explanation, explain


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """The answer for one run.

    :param reason: Slurm's own word, if it has one
    :param meaning: what that means, as a sentence
    :param sooner: what would make it start sooner, or what to do; empty if nothing
    :param since: (UTC) since when it is so
    :param expected_start: (UTC) Slurm's guess
    """

    run: Run
    meaning: str
    reason: str | None = None
    sooner: str = ""
    since: str | None = None
    expected_start: str | None = None
    refresh: RefreshResult = field(default_factory=RefreshResult)

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "sweep": self.run.sweep,
            "run": self.run.run,
            "state": self.run.state.value,
            "job_id": self.run.job_id,
            "reason": self.reason,
            "meaning": self.meaning,
            "sooner": self.sooner or None,
            "since": self.since,
            "expected_start": self.expected_start,
            "notices": list(self.refresh.notices),
        }


def explain_run(ledger: Ledger, selector: Selector, client: SlurmClient | None = None) -> Why:
    """Ask Slurm about a run's sweep, and say why the run is where it is.

    :raises NotFoundError: no run is selected
    :raises UsageError: several are
    """
    summary = ledger.sweep(selector.sweep)
    refresh = bring_up_to_date(ledger, [summary], refresh=True)
    runs = select_runs(ledger, summary.sweep.id, selector)
    if len(runs) != 1:
        raise UsageError(
            f"{len(runs)} runs are selected, but only one can be explained at a time: name one, such as"
            f" {one_of(summary.sweep.id, runs)}"
        )
    known = _Known(ledger=ledger, run=runs[0], client=client or slurm_client())
    return replace(_EXPLANATIONS.get(known.run.state, _over)(known), refresh=refresh)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A run, and where to look for more."""

    ledger: Ledger
    run: Run
    client: SlurmClient

    @property
    def submission(self) -> Submission | None:
        submissions = self.ledger.submissions(self.run.sweep)
        return next((one for one in submissions if one.submission == self.run.submission), None)

    @property
    def last_attempt(self) -> Attempt | None:
        return max(
            self.ledger.attempts(self.run.sweep, runs=[self.run.run]),
            key=lambda one: (one.submission, one.restart),
            default=None,
        )

    @property
    def is_here(self) -> bool:
        """Whether this machine's cluster has its jobs.

        :raises UnavailableError: Slurm does not answer
        """
        cluster = self.ledger.sweep(self.run.sweep).sweep.cluster
        return cluster in (None, self.client.config().cluster)

    @property
    def waiting_since(self) -> str | None:
        """When it was submitted, or when its last attempt ended and it went back into the queue."""
        last, submission = self.last_attempt, self.submission
        if last is not None and last.ended_at is not None and last.submission == self.run.submission:
            return last.ended_at
        return submission.intended_at if submission is not None else None


def _planned(known: _Known) -> Why:
    run = known.run
    again = retries_to_come(known.ledger, run.sweep).get(run.run)
    if again is not None and run.submission is None:
        return Why(
            run=run,
            meaning=again.reason,
            sooner=f"it is submitted as others end; `hpcorch tend {run.sweep}` submits what fits now",
            since=known.ledger.sweep(run.sweep).sweep.created_at,
        )
    if again is not None:
        return Why(
            run=run,
            meaning=f"it will be submitted again ({again.reason}), not before {again.at}",
            sooner=f"`hpcorch tend {run.sweep}` submits what is due now",
        )
    if run.reason is not None and run.submission is None:
        return Why(run=run, reason=run.reason, meaning="Slurm refused its submission", sooner=CURE)
    if run.reason is not None:
        return Why(run=run, reason=run.reason, meaning="it was not submitted again: see the reason")
    return Why(
        run=run,
        meaning="it has not been submitted: its launcher ended first, or Slurm accepts no more of your jobs now",
        sooner=f"`hpcorch tend {run.sweep}` submits what may be submitted",
    )


def _uncertain(known: _Known) -> Why:
    return Why(
        run=known.run,
        reason=known.run.reason,
        meaning="hpcorch does not know yet what became of its submission or its last attempt",
        sooner="nothing is lost: hpcorch asks Slurm again at the next command, and usually knows within minutes",
        since=known.waiting_since,
    )


def _pending(known: _Known) -> Why:
    run, submission = known.run, known.submission
    if submission is not None and submission.is_packed and run.job_id == submission.job_id:
        return _not_taken(known, submission)
    now = _asked(known)
    explanation = _explained(known, submission, now.reason)
    return Why(
        run=run,
        reason=now.reason,
        meaning=explanation.meaning,
        sooner=explanation.sooner,
        since=known.waiting_since,
        expected_start=None if now.expected_start is None else format_time(now.expected_start),
    )


def _explained(known: _Known, submission: Submission | None, reason: str | None) -> Explanation:
    limited = reason in (HELD, ARRAY_LIMIT) and submission is not None
    share = (
        share_of(submission, known.run.run, reason, known.client) if limited and submission is not None else None
    )
    return share or explain(reason)


def _not_taken(known: _Known, submission: Submission) -> Why:
    """Why a run of a packed array waits that none of its tasks has taken."""
    now, rows = _asked(known), _rows(known, submission)
    running = sum(not row.state.is_final and row.state is not JobState.PENDING for row in rows)
    waiting = [row for row in rows if row.state is JobState.PENDING]
    reason = now.reason or next((row.reason for row in waiting), None)
    of_tasks = _explained(known, submission, reason)
    starts = None if running else now.expected_start
    is_over = bool(rows) and not running and not waiting
    return Why(
        run=known.run,
        reason=reason if waiting else None,
        meaning=(
            f"no task of array {submission.job_id} has taken it, and all of them are over: within minutes it is"
            " submitted again, or ends as they did"
            if is_over
            else f"it waits for one of the tasks of array {submission.job_id} to come to it: of"
            f" {submission.tasks or 0}, {_at_work(running, len(waiting), of_tasks)}"
        ),
        sooner=of_tasks.sooner if waiting else _LONGER if is_over else "",
        since=known.waiting_since,
        expected_start=None if starts is None else format_time(starts),
    )


_LONGER = "with a longer timeout_min each task has time for more runs"


def _at_work(running: int, waiting: int, of_tasks: Explanation) -> str:
    """How many tasks are running, and why others are not."""
    if not running:
        return f"none is running: {of_tasks.meaning}"
    some = f"{running} {'is' if running == 1 else 'are'} running"
    return f"{some}, and {waiting} {'waits' if waiting == 1 else 'wait'}: {of_tasks.meaning}" if waiting else some


def _rows(known: _Known, submission: Submission) -> list[QueueRow]:
    """The tasks of a packed array as Slurm has them; none where it does not answer, or on another cluster."""
    try:
        return known.client.queue([submission.job_id]) if submission.job_id is not None and known.is_here else []
    except UnavailableError:
        return []


def _asked(known: _Known) -> Waiting:
    """Why it waits at this moment: not each change of a reason is on record.

    What is serves where Slurm does not answer, from another cluster, or if the run has just left the queue.
    """
    recorded = Waiting(reason=known.run.reason, expected_start=None)
    try:
        if known.run.job_id is None or not known.is_here:
            return recorded
        return parse_waiting(known.client.ask(commands.squeue_waiting(known.run.job_id))) or recorded
    except UnavailableError:
        return recorded


def _running(known: _Known) -> Why:
    run = known.run
    where = f" on {run.node}" if run.node else ""
    word = "is suspended, and stays in memory" if run.state is RunState.SUSPENDED else "is running"
    told = f": {run.reason}" if run.reason else ""
    return Why(run=run, reason=run.reason, meaning=f"it {word}{where}{told}", since=run.started_at)


def _cancelling(known: _Known) -> Why:
    run = known.run
    return Why(
        run=run,
        reason=run.reason,
        meaning=f"it has been {run.reason}, and has not ended yet",
        sooner=f"if it does not end, `hpcorch cancel {run.sweep}/{run.run}` asks again",
        since=run.started_at,
    )


def _over(known: _Known) -> Why:
    run = known.run
    again = retries_to_come(known.ledger, run.sweep).get(run.run)
    if run.state is RunState.COMPLETED:
        return Why(run=run, reason=run.reason, meaning=_completed(run), since=run.ended_at)
    told = run.error or run.reason
    return Why(
        run=run,
        reason=run.reason,
        meaning=f"it ended as {run.state.value}{f': {told}' if told else ''}",
        sooner=f"{again.reason}, not before {again.at}" if again is not None else _cure(known),
        since=run.ended_at,
    )


def _completed(run: Run) -> str:
    return "it has completed" if run.reason is None else f"it has completed: {run.reason}"


def _cure(known: _Known) -> str:
    """What to do about a run that is over and has not completed. Only its user submits a script again."""
    run, submission = known.run, known.submission
    look = f"`hpcorch logs {run.sweep}/{run.run}` shows its log"
    if submission is None or not submission.form.is_script:
        return f"{look}, `hpcorch retry {run.sweep}/{run.run}` runs it again"
    if submission.ends_by_slurm:
        again = shlex.join(known.ledger.sweep(run.sweep).sweep.argv)
        return f"{look}, `{again}` submits it again, as a new sweep"
    return look


_EXPLANATIONS: Mapping[RunState, Callable[[_Known], Why]] = {
    RunState.PLANNED: _planned,
    RunState.UNCERTAIN: _uncertain,
    RunState.SUBMITTED: _pending,
    RunState.PENDING: _pending,
    RunState.RUNNING: _running,
    RunState.SUSPENDED: _running,
    RunState.CANCELLING: _cancelling,
}
