"""From the events of a sweep's control journal to the sweep, its launches and its submissions: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from hpcorch.model.actions import Action
from hpcorch.model.entities import Cancellation, Launch, Submission, Sweep
from hpcorch.model.events import (
    CONTROL_SOURCE,
    ControlRequested,
    Event,
    KeeperSubmitted,
    LaunchPlanned,
    SubmissionAccepted,
    SubmissionIntended,
    SubmissionRejected,
    SubmissionReleased,
    SubmissionUnknown,
    SweepCreated,
)
from hpcorch.model.ids import parse_ranges
from hpcorch.model.states import Backend, SubmissionForm, SubmissionState


def fold_sweep(created: Event) -> Sweep:
    """The sweep that its first event tells of."""
    fact = created.fact
    assert isinstance(fact, SweepCreated)
    return Sweep(
        id=created.sweep,
        name=fact.name,
        backend=Backend.of(fact.backend),
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


def fold_launch(planned: Event) -> Launch:
    """The launch that its event tells of."""
    fact = planned.fact
    assert isinstance(fact, LaunchPlanned)
    return Launch(
        sweep=planned.sweep,
        first_run=fact.first_run,
        count=fact.count,
        manifest=fact.manifest,
        manifest_digest=fact.manifest_digest,
        task_digest=fact.task_digest,
        options=fact.options,
        planned_at=planned.time,
    )


def fold_submissions(
    events: Iterable[Event], before: Mapping[int, Submission] | None = None
) -> dict[int, Submission]:
    """Every submission that the control journal tells of, by number.

    :param before: what earlier events have told of
    """
    submissions = dict(before or {})
    for event in sorted(events, key=lambda item: (item.source != CONTROL_SOURCE, item.seq)):
        fact = event.fact
        if isinstance(fact, SubmissionIntended):
            submissions[fact.submission] = Submission(
                sweep=event.sweep,
                submission=fact.submission,
                launch=fact.launch,
                runs=tuple(parse_ranges(fact.runs)),
                token=fact.token,
                backend=Backend.of(fact.backend),
                script=fact.script,
                state=SubmissionState.INTENDED,
                intended_at=event.time,
                form=SubmissionForm(fact.form or SubmissionForm.TASKS),
                tasks=fact.tasks,
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
        return replace(known, state=SubmissionState.UNKNOWN, reason=fact.reason, printed=fact.printed)
    if isinstance(fact, ControlRequested) and fact.action == Action.CANCEL:
        asked = Cancellation(runs=frozenset(parse_ranges(fact.runs)), user=fact.user, checkpoint=fact.checkpoint)
        return replace(known, cancellations=(*known.cancellations, asked))
    if isinstance(fact, KeeperSubmitted):
        return replace(known, keeper=fact.job_id)
    return known
