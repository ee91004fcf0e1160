"""From the evidence of a run to its attempts: pure functions.

Facts of one journal are ordered by their sequence number; the clock is never asked. Where the task's journal and
the scheduler disagree, the table in :mod:`hpcorch.model.folding.stop_rules` decides: the journal is believed about
what the task did, the scheduler about what became of a job that could not say so itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from hpcorch.model.entities import Attempt, Submission
from hpcorch.model.events import (
    AttemptCalled,
    AttemptClaimed,
    AttemptEnded,
    AttemptSeeded,
    AttemptSignalled,
    CheckpointRestored,
    CheckpointSaved,
    CommandEnded,
    Event,
    JobObserved,
    RunPlanned,
)
from hpcorch.model.folding.evidence import RunEvidence
from hpcorch.model.folding.stop_rules import REQUEUED_UNEXPLAINED, Journal
from hpcorch.model.folding.stops import Verdict, judge
from hpcorch.model.ids import AttemptId
from hpcorch.model.job_states import JobState, Witness
from hpcorch.model.states import AttemptOutcome, AttemptState, SubmissionForm
from hpcorch.model.values import from_plain

# What the journal's own last word means.
_OUTCOMES: Mapping[AttemptOutcome, AttemptState] = {
    AttemptOutcome.COMPLETED: AttemptState.COMPLETED,
    AttemptOutcome.FAILED: AttemptState.FAILED,
    AttemptOutcome.REFUSED: AttemptState.REFUSED,
    AttemptOutcome.SKIPPED: AttemptState.SKIPPED,
    AttemptOutcome.SUPERSEDED: AttemptState.SUPERSEDED,
    AttemptOutcome.STOPPED: AttemptState.STOPPED,
}
# What stopped an attempt, where the signal says more than that something did.
_STOPS: Mapping[str | None, Journal] = {"SIGUSR1": Journal.WARNED, "SIGUSR2": Journal.ASKED}
# Of a job that is not over.
ALIVE = frozenset({JobState.PENDING, JobState.RUNNING, JobState.COMPLETING, JobState.SUSPENDED, JobState.STOPPED})


def stop_of(signal: str | None) -> Journal:
    """What stopped an attempt, by the signal that it recorded."""
    return _STOPS.get(signal, Journal.STOPPED)


def fold_attempts(evidence: RunEvidence, observed: Mapping[tuple[int, int], JobObserved]) -> tuple[Attempt, ...]:
    """The attempts of a run, in order.

    :param observed: the scheduler's last word on each (submission, restart)
    """
    sweep, planned = evidence.planned.sweep, evidence.planned.fact
    assert isinstance(planned, RunPlanned)
    submissions = {one.submission: one for one in evidence.submissions}
    ordered = sorted({*evidence.attempts, *_unclaimed(planned.run, observed)})
    return tuple(
        _superseded(
            _fold_attempt(
                sweep,
                attempt,
                evidence.attempts.get(attempt, ()),
                observed.get((attempt.submission, attempt.restart)),
                submissions.get(attempt.submission),
            ),
            later,
        )
        for attempt, later in zip_longest(ordered, ordered[1:])
    )


def _unclaimed(run: int, observed: Mapping[tuple[int, int], JobObserved]) -> Iterator[AttemptId]:
    """Attempts that began and ended without a journal: preempted before Python was up, or on a node that died."""
    for (submission, restart), said in observed.items():
        has_run = said.start is not None and said.node is not None and said.end is not None
        if has_run and said.told_by is Witness.SACCT:
            yield AttemptId(run=run, submission=submission, restart=restart)


def _fold_attempt(
    sweep: str,
    attempt: AttemptId,
    events: Sequence[Event],
    said: JobObserved | None,
    submission: Submission | None,
) -> Attempt:
    values: dict[str, Any] = {"state": AttemptState.RUNNING}
    for event in _until_the_end(events):
        values.update(_journal_fact(event))
    ranks = values.pop("tasks", 1)
    if ranks > 1 and values["state"] is AttemptState.COMPLETED:
        values["state"] = AttemptState.COMPLETING
    # Who was asked to end may have left in the middle; of a command the job's exit code tells nothing.
    is_called, is_signalled = values.pop("called", False), values.pop("signalled", False)
    is_task = submission is not None and submission.form is SubmissionForm.TASKS
    if said is not None and submission is not None and submission.ends_by_slurm:
        values.update(_scheduler_fact(values, said, judge(Journal.SCRIPT, said)))
    elif said is not None:
        asked = submission is not None and submission.cancellation_of(attempt.run) is not None
        verdict = _verdict(values, said, ranks, is_called=is_called and is_task and not is_signalled, asked=asked)
        values.update(_scheduler_fact(values, said, verdict))
    return Attempt(sweep=sweep, run=attempt.run, submission=attempt.submission, restart=attempt.restart, **values)


def _until_the_end(events: Iterable[Event]) -> Iterator[Event]:
    """The facts of a journal in their order, up to the attempt's end: the first end is final.

    A way out of the program may still save checkpoints, and only the last one may be at hand.
    """
    is_over = False
    for event in sorted(events, key=lambda item: item.seq):
        if not is_over or isinstance(event.fact, CheckpointSaved):
            yield event
        is_over = is_over or isinstance(event.fact, AttemptEnded)


def _superseded(attempt: Attempt, later: AttemptId | None) -> Attempt:
    """An attempt of whose end nobody told, and after which Slurm started its element again, was requeued."""
    if attempt.state.is_final or later is None or later.submission != attempt.submission:
        return attempt
    return replace(attempt, state=AttemptState.REQUEUED, reason=REQUEUED_UNEXPLAINED)


def _journal_fact(event: Event) -> dict[str, Any]:
    """What one fact says of its attempt. (A dictionary: a ``replace`` for each fact would double a fold's time.)"""
    fact = event.fact
    if isinstance(fact, AttemptClaimed):
        element = fact.array_job_id is not None and fact.array_task is not None
        return {
            "job_id": f"{fact.array_job_id}_{fact.array_task}" if element else fact.job_id,
            "node": fact.host,
            "pid": fact.pid,
            "started_at": event.time,
            "log": fact.log,
            "log_start": fact.log_offset,
            "job_restart": fact.job_restart,
            "tasks": fact.tasks,
        }
    if isinstance(fact, AttemptSeeded):
        return {"seed": fact.seed}
    if isinstance(fact, AttemptCalled):
        return {"called": True}
    if isinstance(fact, AttemptSignalled):
        return {"signalled": True}
    if isinstance(fact, CheckpointRestored):
        return {"restored_from": fact.attempt, "restored_step": fact.step}
    if isinstance(fact, CheckpointSaved):
        return {"checkpoint_step": fact.step, "checkpoint": fact.file}
    if isinstance(fact, CommandEnded):
        return {} if fact.result is None else {"result": from_plain(fact.result)}
    if isinstance(fact, AttemptEnded):
        return {
            "state": _OUTCOMES.get(fact.ended_as, AttemptState.LOST),
            "ended_at": event.time,
            "exit_code": fact.exit_code,
            "signal": fact.signal,
            "reason": fact.reason,
            "result": from_plain(fact.result),
            "error": fact.error,
            "log_end": fact.log_end,
        }
    return {}


def _scheduler_fact(journal: Mapping[str, Any], said: JobObserved, verdict: Verdict | None) -> dict[str, Any]:
    """What the scheduler's last word adds to what the journal says of an attempt.

    :param verdict: how the attempt ended by both
    """
    # A word from before the end, or the local pool's, is not what Slurm says of an attempt that is over.
    is_slurms = said.told_by is not Witness.LOCAL and said.job_state is not JobState.LINGERING
    told = is_slurms and (said.job_state not in ALIVE or not journal["state"].is_final)
    added: dict[str, Any] = {
        "slurm_state": said.state if told else None,
        "node": journal.get("node") or said.node,
        "started_at": journal.get("started_at") or said.start,
    }
    if verdict is None:
        return added
    exit_code = journal.get("exit_code")
    return {
        **added,
        "state": verdict.state,
        "reason": verdict.reason or journal.get("reason"),
        "ended_at": journal.get("ended_at") or said.end,
        "exit_code": said.exit_code if exit_code is None else exit_code,
        "signal": journal.get("signal") or verdict.signal,
    }


def _verdict(
    journal: Mapping[str, Any], said: JobObserved, ranks: int, *, is_called: bool, asked: bool
) -> Verdict | None:
    stopped = Journal.YIELDED if journal.get("exit_code") == 0 else Journal.STOPPED
    told = {
        AttemptState.RUNNING: Journal.CALLED if is_called else Journal.NOTHING,
        AttemptState.STOPPED: _STOPS.get(journal.get("signal"), stopped),
        AttemptState.COMPLETING: Journal.LED,
        AttemptState.FAILED: Journal.FAILED,
    }.get(journal["state"])
    if told is None:
        return None
    return judge(told, said, stopped_by=journal.get("signal"), ranks=ranks, asked=asked)
