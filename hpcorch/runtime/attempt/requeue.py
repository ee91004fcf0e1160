"""Requeueing an attempt's job when its time limit is near.

``scontrol requeue`` of one's own element works from inside the job for an ordinary user, and leaves the
other elements running (measured on 22.05, 24.11, 26.05).
"""

from __future__ import annotations

from dataclasses import replace

from hpcorch import tunables
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.events import AttemptEnded, AttemptSignalled, Fact
from hpcorch.model.ids import AttemptId
from hpcorch.runtime.context.claim import read_attempt
from hpcorch.runtime.context.output import say
from hpcorch.runtime.context.place import Place
from hpcorch.runtime.context.signals import WARNING_SIGNAL
from hpcorch.slurm.job_environment import Job


def may_requeue(place: Place, *, most: int) -> bool:
    """Whether a job that nears its time limit may go back into the queue.

    :param most: how many times it may in all: ``max_num_timeout`` of a launch, ``--max-requeues`` of a command
    """
    return _timeouts_before(place.layout, place.attempt) < most


def _timeouts_before(layout: SweepLayout, attempt: AttemptId) -> int:
    """How many earlier attempts of this submission were stopped by the warning before their time limit."""
    earlier = (replace(attempt, restart=restart) for restart in range(attempt.restart))
    return sum(any(_is_warning(event.fact) for event in read_attempt(layout, one)) for one in earlier)


def _is_warning(fact: Fact) -> bool:
    """A step of a script records the signal alone, since Slurm tells how the script ends."""
    return isinstance(fact, (AttemptSignalled, AttemptEnded)) and fact.signal == WARNING_SIGNAL


def requeue(job: Job | None) -> bool:
    """Put a job back into the queue, which this process is a part of; Slurm then ends it.

    :param job: None where no scheduler started the process: then nothing happens
    :return: whether Slurm took the request; if not, that is said in the log
    """
    if job is None:
        return False
    from hpcorch import process  # few attempts need this, and every one would wait for the imports
    from hpcorch.slurm.commands import scontrol

    element = job.element
    try:
        done = process.run(scontrol("requeue", [element]), timeout_s=tunables.SLURM_QUERY_TIMEOUT_S)
    except (process.CommandMissingError, process.CommandTimeoutError) as error:
        say(f"the time limit is near, and {element} could not be requeued: {error}")
        return False
    if done.returncode != 0:
        say(f"the time limit is near, and {element} could not be requeued: {done.stderr.strip()}")
    return done.returncode == 0
