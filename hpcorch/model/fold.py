"""From events to entities: pure functions of a set of events.

Nothing here depends on the order in which events became known. Facts of one source are ordered by their
sequence number, attempts by (submission, restart); the clock is never asked. Where the task's journal and the
scheduler disagree, the table in :mod:`hpcorch.model.stops` decides: the journal is believed about what the task
did, the scheduler about what became of a job that could not say so itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

from hpcorch.model.entities import Attempt, Batch, Run, Submission, Sweep
from hpcorch.model.events import (
    CONTROL_SOURCE,
    AttemptClaimed,
    AttemptEnded,
    AttemptSeeded,
    BatchPlanned,
    CheckpointRestored,
    CheckpointSaved,
    CommandEnded,
    Event,
    Fact,
    JobObserved,
    KeeperSubmitted,
    MetricsSummarised,
    RunPlanned,
    RunReused,
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionRejected,
    SubmissionReleased,
    SubmissionUnknown,
    SweepCreated,
)
from hpcorch.model.ids import AttemptId, parse_ranges
from hpcorch.model.states import AttemptState, RunState, SubmissionForm, SubmissionState
from hpcorch.model.stops import NOT_REQUEUED, Journal, Verdict, judge

# What the journal's own last word means.
_OUTCOMES: Mapping[str, AttemptState] = {
    "completed": AttemptState.COMPLETED,
    "failed": AttemptState.FAILED,
    "refused": AttemptState.REFUSED,
    "skipped": AttemptState.SKIPPED,
    "superseded": AttemptState.SUPERSEDED,
    "stopped": AttemptState.STOPPED,
}

# What stopped an attempt, where the signal says more than that something did.
_STOPS: Mapping[str | None, Journal] = {"SIGUSR1": Journal.WARNED, "SIGUSR2": Journal.ASKED}

_RUN_STATE_OF_ATTEMPT: Mapping[AttemptState, RunState] = {
    AttemptState.RUNNING: RunState.RUNNING,
    AttemptState.COMPLETING: RunState.RUNNING,
    AttemptState.STOPPED: RunState.UNCERTAIN,
    AttemptState.COMPLETED: RunState.COMPLETED,
    AttemptState.FAILED: RunState.FAILED,
    AttemptState.REFUSED: RunState.FAILED,
    AttemptState.TIMEOUT: RunState.TIMEOUT,
    AttemptState.DEADLINE: RunState.TIMEOUT,
    AttemptState.OUT_OF_MEMORY: RunState.OUT_OF_MEMORY,
    AttemptState.CANCELLED: RunState.CANCELLED,
    AttemptState.NODE_FAIL: RunState.NODE_FAIL,
    AttemptState.BOOT_FAIL: RunState.NODE_FAIL,
    AttemptState.PREEMPTED: RunState.PENDING,
    AttemptState.REQUEUED: RunState.PENDING,
    AttemptState.SUPERSEDED: RunState.UNCERTAIN,
    AttemptState.LOST: RunState.LOST,
}

# Slurm's words for a job that is not over.
_ALIVE = frozenset({"PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED"})

# Slurm's words for a job that holds its node and does not run.
_SUSPENDED = ("SUSPENDED", "STOPPED")

# Slurm's word for an array element that is not over, while no journal speaks for it.
_RUN_STATE_OF_JOB: Mapping[str, RunState] = {
    "PENDING": RunState.PENDING,
    "RUNNING": RunState.RUNNING,
    "SUSPENDED": RunState.SUSPENDED,
    "STOPPED": RunState.SUSPENDED,
    NOT_REQUEUED: RunState.PLANNED,
}

# The facts that fold_run reads. Others may be many (and are kept); who gathers evidence may leave them out.
EVIDENCE: tuple[type[Fact], ...] = (
    RunPlanned,
    RunReused,
    JobObserved,
    AttemptClaimed,
    AttemptSeeded,
    CheckpointRestored,
    CommandEnded,
    AttemptEnded,
)

# Further ones, of which an attempt may write thousands. Only the last of each kind of an attempt counts.
LAST_WORDS: tuple[type[Fact], ...] = (CheckpointSaved, MetricsSummarised)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvidence:
    """All that is known of one run. Incomplete evidence folds as well, to what it supports."""

    planned: Event
    batch: int
    submissions: Sequence[Submission] = ()  # those that include the run
    observed: Sequence[Event] = ()  # JobObserved of this run
    attempts: Mapping[AttemptId, Sequence[Event]] = field(default_factory=dict)
    reused: Event | None = None  # RunReused


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedRun:
    """A run and its attempts, as the evidence has them."""

    run: Run
    attempts: tuple[Attempt, ...]


def fold_sweep(created: Event) -> Sweep:
    """The sweep that its first event tells of."""
    fact = created.fact
    assert isinstance(fact, SweepCreated)
    return Sweep(
        id=created.sweep,
        name=fact.name,
        backend=fact.backend,
        directory=fact.directory,
        project=fact.project,
        user=fact.user,
        host=fact.host,
        cwd=fact.cwd,
        argv=tuple(fact.argv),
        root_seed=fact.root_seed,
        sweeper=fact.sweeper,
        created_at=created.time,
        tags=tuple(fact.tags),
        cluster=fact.cluster,
        python=fact.python,
        versions=fact.versions,
    )


def fold_batch(planned: Event) -> Batch:
    """The batch that its event tells of."""
    fact = planned.fact
    assert isinstance(fact, BatchPlanned)
    return Batch(
        sweep=planned.sweep,
        batch=fact.batch,
        count=fact.count,
        manifest=fact.manifest,
        manifest_digest=fact.manifest_digest,
        task_digest=fact.task_digest,
        options=fact.options,
        planned_at=planned.time,
    )


def fold_submissions(events: Iterable[Event]) -> dict[int, Submission]:
    """Every submission that the control journal tells of, by number."""
    submissions: dict[int, Submission] = {}
    for event in sorted(events, key=lambda item: item.seq):
        fact = event.fact
        if isinstance(fact, SubmissionIntended):
            submissions[fact.submission] = Submission(
                sweep=event.sweep,
                submission=fact.submission,
                batch=fact.batch,
                runs=tuple(parse_ranges(fact.runs)),
                token=fact.token,
                backend=fact.backend,
                script=fact.script,
                state=SubmissionState.INTENDED,
                intended_at=event.time,
                form=SubmissionForm(fact.form or SubmissionForm.TASKS),
            )
            continue
        known = submissions.get(getattr(fact, "submission", -1))
        if known is not None:
            submissions[known.submission] = _with_outcome(known, event)
    return submissions


def _with_outcome(known: Submission, event: Event) -> Submission:
    fact = event.fact
    if isinstance(fact, SubmissionAccepted):
        return replace(known, state=SubmissionState.ACCEPTED, job_id=fact.job_id, cluster=fact.cluster, reason=None)
    if isinstance(fact, SubmissionReleased):
        return replace(known, state=SubmissionState.RELEASED)
    if isinstance(fact, SubmissionRejected):
        return replace(known, state=SubmissionState.REJECTED, reason=fact.reason)
    if isinstance(fact, SubmissionUnknown):
        return replace(known, state=SubmissionState.UNKNOWN, reason=fact.reason)
    if isinstance(fact, KeeperSubmitted):
        return replace(known, keeper=fact.job_id)
    return known


def fold_run(evidence: RunEvidence) -> FoldedRun:
    """The run and its attempts, from all evidence about it.

    The winning attempt is the highest (submission, restart) that executed or tried to: an attempt that skipped
    because the run had ended, or gave way to a later one, decides nothing, and what a superseded attempt
    writes late changes nothing.
    """
    planned = evidence.planned.fact
    assert isinstance(planned, RunPlanned)
    observed = _last_words(evidence.observed)
    scripts = frozenset(one.submission for one in evidence.submissions if one.ends_by_slurm)
    ordered = sorted({*evidence.attempts, *_unclaimed(planned.run, observed)})
    attempts = tuple(
        _superseded(
            _fold_attempt(
                evidence.planned.sweep,
                attempt,
                evidence.attempts.get(attempt, ()),
                observed,
                is_script=attempt.submission in scripts,
            ),
            later,
        )
        for attempt, later in zip_longest(ordered, ordered[1:])
    )
    run = Run(
        sweep=evidence.planned.sweep,
        run=planned.run,
        batch=evidence.batch,
        base=planned.base,
        state=RunState.PLANNED,
        overrides=tuple(planned.overrides),
        params=planned.params,
        changes=planned.changes,
        config_digest=planned.config_digest,
        seed=planned.seed,
        seed_source=planned.seed_source,
        directory=planned.directory,
        launcher=planned.launcher or {},
        key=planned.key or "",
        attempts=len(attempts),
        metrics=_metrics(evidence.attempts.get(attempt, ()) for attempt in reversed(ordered)),
    )
    return FoldedRun(run=_settle_run(run, evidence, attempts, observed), attempts=attempts)


def _metrics(attempts: Iterable[Sequence[Event]]) -> Mapping[str, Mapping[str, Sequence[Any]]]:
    """The metrics of the first of these attempts that summarised any, as it last did."""
    for events in attempts:
        told = [(event.seq, event.fact.metrics) for event in events if isinstance(event.fact, MetricsSummarised)]
        if told:
            return max(told, key=lambda item: item[0])[1]
    return {}


def _last_words(observed: Iterable[Event]) -> dict[tuple[int, int], JobObserved]:
    """The scheduler's last word on each (submission, restart)."""
    words: dict[tuple[int, int], JobObserved] = {}
    for event in sorted(observed, key=lambda item: (item.source != CONTROL_SOURCE, item.seq)):
        fact = event.fact
        assert isinstance(fact, JobObserved)
        words[fact.submission, fact.restart] = fact
    return words


def _unclaimed(run: int, observed: Mapping[tuple[int, int], JobObserved]) -> Iterator[AttemptId]:
    """Attempts that began and ended without a journal: preempted before Python was up, or on a node that died."""
    for (submission, restart), said in observed.items():
        if said.witness == "sacct" and said.start is not None and said.node is not None and said.end is not None:
            yield AttemptId(run=run, submission=submission, restart=restart)


def _fold_attempt(
    sweep: str,
    attempt: AttemptId,
    events: Sequence[Event],
    observed: Mapping[tuple[int, int], JobObserved],
    *,
    is_script: bool,
) -> Attempt:
    values: dict[str, Any] = {"state": AttemptState.RUNNING}
    for event in sorted(events, key=lambda item: item.seq):
        values.update(_journal_fact(event))
    ranks = values.pop("tasks", 1)
    if ranks > 1 and values["state"] is AttemptState.COMPLETED:
        values["state"] = AttemptState.COMPLETING
    said = observed.get((attempt.submission, attempt.restart))
    if said is not None:
        values.update(_scheduler_fact(values, said, ranks, is_script=is_script))
    return Attempt(sweep=sweep, run=attempt.run, submission=attempt.submission, restart=attempt.restart, **values)


def _superseded(attempt: Attempt, later: AttemptId | None) -> Attempt:
    """An attempt of whose end nobody told, and after which Slurm started its element again, was requeued."""
    if attempt.state.is_final or later is None or later.submission != attempt.submission:
        return attempt
    return replace(attempt, state=AttemptState.REQUEUED, reason="Slurm started it again, and has not said why yet")


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
            "tasks": fact.tasks,
        }
    if isinstance(fact, AttemptSeeded):
        return {"seed": fact.seed}
    if isinstance(fact, CheckpointRestored):
        return {"restored_from": fact.attempt, "restored_step": fact.step}
    if isinstance(fact, CheckpointSaved):
        return {"checkpoint_step": fact.step, "checkpoint": fact.file}
    if isinstance(fact, CommandEnded):
        return {} if fact.result is None else {"result": fact.result}
    if isinstance(fact, AttemptEnded):
        return {
            "state": _OUTCOMES.get(fact.outcome, AttemptState.LOST),
            "ended_at": event.time,
            "exit_code": fact.exit_code,
            "signal": fact.signal,
            "reason": fact.reason,
            "result": fact.result,
            "error": fact.error,
            "log_end": fact.log_end,
        }
    return {}


def _scheduler_fact(
    journal: Mapping[str, Any], said: JobObserved, ranks: int, *, is_script: bool
) -> dict[str, Any]:
    """What the scheduler's last word adds to what the journal says of an attempt."""
    # A word from before the end, or the local pool's, is not what Slurm says of an attempt that is over.
    told = said.witness != "local" and (said.state not in _ALIVE or not journal["state"].is_final)
    added: dict[str, Any] = {
        "slurm_state": said.state if told else None,
        "node": journal.get("node") or said.node,
        "started_at": journal.get("started_at") or said.start,
    }
    verdict = judge(Journal.SCRIPT, said) if is_script else _verdict(journal, said, ranks)
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


def _verdict(journal: Mapping[str, Any], said: JobObserved, ranks: int) -> Verdict | None:
    stopped = Journal.YIELDED if journal.get("exit_code") == 0 else Journal.STOPPED
    told = {
        AttemptState.RUNNING: Journal.NOTHING,
        AttemptState.STOPPED: _STOPS.get(journal.get("signal"), stopped),
        AttemptState.COMPLETING: Journal.LED,
        AttemptState.FAILED: Journal.FAILED,
    }.get(journal["state"])
    return None if told is None else judge(told, said, stopped_by=journal.get("signal"), ranks=ranks)


def _settle_run(
    run: Run,
    evidence: RunEvidence,
    attempts: Sequence[Attempt],
    observed: Mapping[tuple[int, int], JobObserved],
) -> Run:
    winner = _winner(attempts, frozenset(one.submission for one in evidence.submissions if one.form.is_script))
    live = [s for s in evidence.submissions if s.state is not SubmissionState.REJECTED]
    latest = max(live, key=lambda item: item.submission, default=None)
    key, said = max(observed.items(), default=((-1, -1), None), key=lambda item: item[0])
    if winner is not None and (latest is None or _speaks_for(winner, latest, attempts)):
        run = _from_attempt(run, winner)
        place = (winner.submission, winner.restart)
        if said is not None and key > place:
            run = _back_in_queue(run, said, evidence.submissions)
        elif (
            said is not None and key == place and winner.state is AttemptState.RUNNING and said.state in _SUSPENDED
        ):
            run = replace(run, state=RunState.SUSPENDED)
    elif latest is not None:
        run = _from_submission(run, latest, observed)
    elif evidence.reused is not None:
        return _taken_over(run, evidence.reused)
    else:
        if said is not None and said.state == "CANCELLED":  # by request, before it was submitted
            return replace(run, state=RunState.CANCELLED, reason=said.reason)
        rejected = max(evidence.submissions, key=lambda item: item.submission, default=None)
        return replace(run, reason=rejected.reason if rejected else None)
    if latest is not None and latest.job_id and run.job_id is None:
        run = replace(run, job_id=latest.element(run.run))
    return run


def _winner(attempts: Sequence[Attempt], scripts: Collection[int]) -> Attempt | None:
    """The attempt that decides what became of the run.

    Once an attempt has completed the run, one that did not come as far as seeding decides nothing: it was about to
    find that end (a completed array element that is requeued from outside runs again: measured).

    :param scripts: submissions of a user's script, which looks for no such end: its last attempt decides
    """
    winner: Attempt | None = None
    for attempt in attempts:
        if attempt.state in (AttemptState.SKIPPED, AttemptState.SUPERSEDED):
            continue
        executed = attempt.seed is not None or attempt.submission in scripts
        if winner is None or winner.state is not AttemptState.COMPLETED or executed:
            winner = attempt
    return winner


def _back_in_queue(run: Run, said: JobObserved, submissions: Sequence[Submission]) -> Run:
    """The run when the scheduler speaks of a restart that no journal speaks of yet.

    A completed run stays completed: the restart will find its end and execute nothing, unless it is a user's
    script.
    """
    is_script = any(one.form.is_script for one in submissions if one.submission == said.submission)
    if run.state is RunState.COMPLETED and not is_script:
        return run
    state, reason = _by_word_alone(said, submissions)
    return replace(
        run,
        state=state,
        reason=reason,
        node=said.node,
        ended_at=said.end,
        exit_code=said.exit_code,
        error=None,
    )


def _by_word_alone(said: JobObserved, submissions: Sequence[Submission]) -> tuple[RunState, str | None]:
    """State and reason of a run of whose attempt the scheduler alone speaks."""
    about = [one for one in submissions if one.submission == said.submission]
    if said.state == NOT_REQUEUED and any(one.form.is_script for one in about):
        return RunState.CANCELLED, said.reason  # nobody but its user submits it again
    verdict = judge(Journal.SCRIPT if any(one.ends_by_slurm for one in about) else Journal.NOTHING, said)
    if verdict is None:
        return _RUN_STATE_OF_JOB.get(said.state, RunState.UNCERTAIN), said.reason
    return _RUN_STATE_OF_ATTEMPT[verdict.state], verdict.reason


def _speaks_for(winner: Attempt, latest: Submission, attempts: Sequence[Attempt]) -> bool:
    """Whether the winning attempt still tells the run's state under the latest submission.

    It does if it belongs to it, if it completed the run, which that submission's attempts will find, or if they
    found the run already ended.
    """
    if winner.submission >= latest.submission or winner.state is AttemptState.COMPLETED:
        return True
    return any(a.submission == latest.submission and a.state is AttemptState.SKIPPED for a in attempts)


def _from_attempt(run: Run, winner: Attempt) -> Run:
    return replace(
        run,
        state=_RUN_STATE_OF_ATTEMPT[winner.state],
        job_id=winner.job_id,
        submission=winner.submission,
        node=winner.node,
        started_at=winner.started_at,
        ended_at=winner.ended_at,
        exit_code=winner.exit_code,
        reason=winner.reason,
        result=winner.result,
        error=winner.error,
        log=winner.log,
    )


def _from_submission(run: Run, latest: Submission, observed: Mapping[tuple[int, int], JobObserved]) -> Run:
    words = [said for (number, _), said in sorted(observed.items()) if number == latest.submission]
    said = words[-1] if words else None
    reason: str | None = None
    if said is not None:
        state, reason = _by_word_alone(said, (latest,))
    elif latest.state in (SubmissionState.ACCEPTED, SubmissionState.RELEASED):
        state = RunState.SUBMITTED
    else:
        state = RunState.UNCERTAIN
    return replace(
        run,
        state=state,
        job_id=latest.element(run.run),
        submission=latest.submission,
        node=said.node if said else None,
        reason=reason or latest.reason,
        exit_code=said.exit_code if said else None,
        started_at=said.start if said else None,
        ended_at=said.end if said and state.is_final else None,
    )


def _taken_over(run: Run, reused: Event) -> Run:
    fact = reused.fact
    assert isinstance(fact, RunReused)
    return replace(
        run,
        state=RunState.COMPLETED,
        reason=f"taken over from {fact.of}",
        result=fact.result,
        ended_at=reused.time,
        exit_code=0,
    )
