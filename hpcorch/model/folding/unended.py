"""Runs of which more is known than whether they are over: somebody asked for their end, or their process stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hpcorch.model.entities import Attempt, Cancellation, Run, Submission
from hpcorch.model.events import JobObserved
from hpcorch.model.job_states import JobState, Witness
from hpcorch.model.states import AttemptState, RunState


def as_cancelling(
    run: Run, submissions: Sequence[Submission], observed: Mapping[tuple[int, int], JobObserved]
) -> Run:
    """The run; CANCELLING if it is not over and somebody asked to cancel it.

    A request is spent once Slurm has cancelled the element: whoever requeues that wants it to run.
    """
    if run.state.is_final or run.submission is None or run.state is RunState.PLANNED:
        return run
    submission = next((one for one in submissions if one.submission == run.submission), None)
    asked = None if submission is None else submission.cancellation_of(run.run)
    is_spent = any(
        said.job_state is JobState.CANCELLED for (number, _), said in observed.items() if number == run.submission
    )
    if asked is None or is_spent:
        return run
    return replace(run, state=RunState.CANCELLING, reason=_asked_by(asked))


def _asked_by(asked: Cancellation) -> str:
    if asked.checkpoint:
        return f"asked by {asked.user} with hpcorch cancel --checkpoint to save a checkpoint and end"
    return f"asked to end by {asked.user} with hpcorch cancel"


def as_lingering(run: Run, attempt: Attempt, said: JobObserved) -> Run:
    """The run whose work is over, while its process or job has been seen since.

    :param attempt: its last one
    """
    what = "process" if said.told_by is Witness.LOCAL else "job"
    if attempt.state is AttemptState.STOPPED:  # what stopped it is known when the job has ended
        stopped = f"stopped by {attempt.signal}, and its {what} has not ended yet"
        preempted = "Slurm preempts it: a job with precedence takes its place"
        return replace(run, state=RunState.RUNNING, reason=preempted if said.preempted else stopped)
    cure = f"`hpcorch cancel {run.sweep}/{run.run}` ends the {what}"
    return replace(run, lingers=True, reason=f"its work is over, and its {what} still runs: {cure}")


def as_near_limit(run: Run) -> Run:
    """The run that stopped because its time limit is near, as long as nobody has told what became of its job.

    What it was stopped by is known, so it is not UNCERTAIN: its job is about to be requeued, or to end.
    """
    return replace(run, state=RunState.RUNNING, reason="stopped near its time limit, and its job has not ended yet")
