"""From events to a run and its attempts: pure functions of a set of events.

Nothing here depends on the order in which events became known. Facts of one source are ordered by their
sequence number, attempts by (submission, restart); the clock is never asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hpcorch.model.entities import Attempt, Run, Submission
from hpcorch.model.events import CONTROL_SOURCE, Event, JobObserved, MetricsSummarised, RunPlanned, RunReused
from hpcorch.model.folding.attempts import ALIVE, fold_attempts, stop_of
from hpcorch.model.folding.evidence import RunEvidence
from hpcorch.model.folding.stop_rules import Journal
from hpcorch.model.folding.stops import judge
from hpcorch.model.folding.unended import as_cancelling, as_lingering, as_near_limit
from hpcorch.model.job_states import JobState
from hpcorch.model.states import AttemptState, RunState, SubmissionState
from hpcorch.model.values import from_plain, values_of
from hpcorch.quick_dataclasses import dataclass

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
# The scheduler's word for an array element that is not over, while no journal speaks for it.
_RUN_STATE_OF_JOB: Mapping[JobState, RunState] = {
    JobState.PENDING: RunState.PENDING,
    JobState.RUNNING: RunState.RUNNING,
    JobState.SUSPENDED: RunState.SUSPENDED,
    JobState.STOPPED: RunState.SUSPENDED,
    JobState.NOT_REQUEUED: RunState.PLANNED,
    JobState.LEFT_OVER: RunState.PLANNED,
}
# Of a job that holds its node and does not run.
_SUSPENDED = frozenset({JobState.SUSPENDED, JobState.STOPPED})


def settle_run(
    run: Run,
    evidence: RunEvidence,
    attempts: Sequence[Attempt],
    observed: Mapping[tuple[int, int], JobObserved],
) -> Run:
    """The run with its state and all that goes with it, of the attempt that decides or else of its last submission.

    :param run: as it was planned
    :param attempts: all of the run's, in order
    :param observed: the scheduler's last word on each (submission, restart)
    """
    winner = _winner(attempts, frozenset(one.submission for one in evidence.submissions if one.form.is_script))
    live = [s for s in evidence.submissions if s.state is not SubmissionState.REJECTED]
    latest = max(live, key=lambda item: item.submission, default=None)
    key, said = max(observed.items(), default=((-1, -1), None), key=lambda item: item[0])
    if winner is not None and (latest is None or _speaks_for(winner, latest, attempts)):
        run = _from_attempt(run, winner)
        place = (winner.submission, winner.restart)
        if said is not None and key > place:
            run = _back_in_queue(run, said, evidence.submissions)
        else:
            run = _with_its_job(run, winner, said if key == place else None, is_last=winner is attempts[-1])
    elif latest is not None:
        run = _from_submission(run, latest, observed)
    elif evidence.reused is not None:
        return _taken_over(run, evidence.reused)
    else:
        if said is not None and said.job_state is JobState.CANCELLED:  # by request, before it was submitted
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
        state=_run_state(winner.state, winner.slurm_state),
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


def _with_its_job(run: Run, winner: Attempt, said: JobObserved | None, *, is_last: bool) -> Run:
    """The run where its job tells more than how its attempt ended.

    :param said: the scheduler's word on that attempt
    """
    is_warned = winner.state is AttemptState.STOPPED and stop_of(winner.signal) is Journal.WARNED
    if is_warned and (said is None or said.job_state in ALIVE):
        return as_near_limit(run)
    if said is None:
        return run
    if winner.state is AttemptState.RUNNING and said.job_state in _SUSPENDED:
        return replace(run, state=RunState.SUSPENDED)
    return as_lingering(run, winner, said) if said.job_state is JobState.LINGERING and is_last else run


def _run_state(ended: AttemptState, slurm_state: str | None) -> RunState:
    """The state of a run whose last attempt is in this one.

    :param slurm_state: Slurm's word on that attempt. Where it is FAILED, Slurm does not requeue what was preempted:
        a user's script that ended before its grace time was over, which nobody but its user submits again
    """
    if ended is AttemptState.PREEMPTED and slurm_state == JobState.FAILED.value:
        return RunState.CANCELLED
    return _RUN_STATE_OF_ATTEMPT[ended]


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
    if said.job_state is JobState.NOT_REQUEUED and any(one.form.is_script for one in about):
        return RunState.CANCELLED, said.reason  # only its user submits it again
    verdict = judge(Journal.SCRIPT if any(one.ends_by_slurm for one in about) else Journal.NOTHING, said)
    if verdict is None:
        return _RUN_STATE_OF_JOB.get(said.job_state, RunState.UNCERTAIN), said.reason
    return _run_state(verdict.state, said.state), verdict.reason


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
        reused_from=fact.of,
        result=from_plain(fact.result),
        ended_at=reused.time,
        exit_code=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedRun:
    """A run and its attempts, as the evidence has them."""

    run: Run
    attempts: tuple[Attempt, ...]


def fold_run(evidence: RunEvidence) -> FoldedRun:
    """The run and its attempts, from all evidence about it.

    The winning attempt is the highest (submission, restart) that executed or tried to: an attempt that skipped
    because the run had ended, or gave way to a later one, decides nothing, and what a superseded attempt
    writes late changes nothing.
    """
    observed = _last_words(evidence.observed)
    attempts = fold_attempts(evidence, observed)
    planned = _as_planned(evidence, len(attempts))
    run = settle_run(planned, evidence, attempts, observed)
    if any(one.cancellations for one in evidence.submissions):
        run = as_cancelling(run, evidence.submissions, observed)
    return FoldedRun(run=run, attempts=attempts)


def _as_planned(evidence: RunEvidence, attempts: int) -> Run:
    """The run before anything is said of what became of it, but for how many attempts it had, and their metrics."""
    planned = evidence.planned.fact
    assert isinstance(planned, RunPlanned)
    return Run(
        sweep=evidence.planned.sweep,
        run=planned.run,
        launch=evidence.launch,
        base=planned.base,
        state=RunState.PLANNED,
        overrides=tuple(planned.overrides),
        params=values_of(planned.params),
        changes=planned.changes,
        config_digest=planned.config_digest,
        seed=planned.seed,
        seed_source=planned.seed_source,
        directory=planned.directory,
        launcher=planned.launcher or {},
        key=planned.key or "",
        attempts=attempts,
        metrics=_metrics(evidence.attempts[attempt] for attempt in sorted(evidence.attempts, reverse=True)),
    )


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
