"""Waiting until Slurm ends the job: the tasks of a job that is being preempted must not end before that.

The tasks of a step get SIGTERM when the grace time begins, a batch script only when it is over (measured on 22.05
and 24.11). If all tasks end in between, the job is over, by their exit codes, and is not requeued (measured on
22.05). The job's PreemptTime says whether it is being preempted.
"""

from __future__ import annotations

import time

from hpcorch import process, tunables
from hpcorch.model.events import AttemptEnded
from hpcorch.model.states import AttemptOutcome
from hpcorch.runtime.context.place import Place
from hpcorch.runtime.context.ranks import leader_said
from hpcorch.slurm.answers.scontrol import parse_is_preempted
from hpcorch.slurm.commands import scontrol_job


def linger(place: Place) -> None:
    """As rank 0: stay while the job is being preempted; Slurm kills this process.

    Returns when the signal meant something else: then ending ends the job.
    """
    began = time.monotonic()
    while time.monotonic() - began < tunables.LINGERING_LONGEST_S:
        preempted = _is_preempted(place)
        if preempted is False or (preempted is None and time.monotonic() - began > tunables.LINGERING_UNASKED_S):
            return
        time.sleep(tunables.LINGERING_POLL_S)


def linger_behind(place: Place) -> None:
    """As another rank: stay until rank 0 exits, which ends the step, so that no rank ends before it.

    Returns if rank 0 does not stop, or ended otherwise: then the signal was for this rank alone.
    """
    said = leader_said(place, AttemptEnded, wait_s=tunables.LEADER_STOPS_S)
    if isinstance(said, AttemptEnded) and said.ended_as is AttemptOutcome.STOPPED:
        time.sleep(tunables.LINGERING_LONGEST_S)


def _is_preempted(place: Place) -> bool | None:
    """Whether Slurm is preempting the job; None if nobody can say."""
    if place.job is None:
        return False
    try:
        # By element: the raw id of one of them is the array's, and would show them all.
        done = process.run(scontrol_job(place.job.element), timeout_s=tunables.LINGERING_TIMEOUT_S)
    except (process.CommandMissingError, process.CommandTimeoutError):
        return None
    return parse_is_preempted(done.stdout) if done.returncode == 0 else None
