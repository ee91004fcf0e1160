"""Requeueing this array element when its time limit is near, as the launch allows.

``scontrol requeue`` of one's own element works from inside the job for an ordinary user, and leaves the
other elements running (measured on 22.05, 24.11, 26.05).
"""

from __future__ import annotations

from dataclasses import replace

from hpcorch import tunables
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import ManifestHeader
from hpcorch.model.events import AttemptEnded
from hpcorch.model.ids import AttemptId
from hpcorch.runtime.context.claim import read_attempt
from hpcorch.runtime.context.output import say
from hpcorch.runtime.context.place import Place
from hpcorch.runtime.context.signals import WARNING_SIGNAL


def may_requeue(place: Place, header: ManifestHeader, *, has_progressed: bool) -> bool:
    """Whether the attempt may go back into the queue when its time limit is near.

    :param has_progressed: whether it has saved a checkpoint beyond the one that it began from
    """
    if header.requeue_while_progress and has_progressed:
        return True
    return timeouts_before(place.layout, place.attempt) < header.max_num_timeout


def timeouts_before(layout: SweepLayout, attempt: AttemptId) -> int:
    """How many earlier attempts of this submission were stopped by the warning before their time limit."""
    facts = (
        event.fact
        for restart in range(attempt.restart)
        for event in read_attempt(layout, replace(attempt, restart=restart))
    )
    return sum(isinstance(fact, AttemptEnded) and fact.signal == WARNING_SIGNAL for fact in facts)


def requeue(place: Place) -> None:
    """Put this array element back into the queue; Slurm ends this process. A failure is said in the log.

    Where no scheduler started the task, nothing happens.
    """
    if place.array_job_id is not None:
        requeue_element(place.hydra_job_id)


def requeue_element(element: str) -> bool:
    """Put a job back into the queue, ``369``, or an element of an array, ``369_3``; Slurm then ends it.

    :return: whether Slurm took the request; if not, that is said in the log
    """
    from hpcorch import process  # few runs come here, and every run would wait for the import

    try:
        done = process.run(["scontrol", "requeue", element], timeout_s=tunables.SLURM_QUERY_TIMEOUT_S)
    except (process.CommandMissingError, process.CommandTimeoutError) as error:
        say(f"the time limit is near, and {element} could not be requeued: {error}")
        return False
    if done.returncode != 0:
        say(f"the time limit is near, and {element} could not be requeued: {done.stderr.strip()}")
    return done.returncode == 0
