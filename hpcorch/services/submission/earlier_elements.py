"""Waiting until earlier elements of runs have ended before the runs are submitted again: no run runs twice."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping

from hpcorch import tunables
from hpcorch.errors import UnavailableError
from hpcorch.model.entities import Submission
from hpcorch.slurm.array_elements import elements_of
from hpcorch.slurm.protocol import SlurmClient


def end_elements(
    client: SlurmClient, submissions: Iterable[Submission], runs: Collection[int], *, grace_s: float = 0.0
) -> None:
    """See earlier elements of these runs end; those that Slurm still shows are cancelled.

    A run is over by its own journal while its element still ends; a lost one may live on a node that does not
    answer.

    :param grace_s: seconds that an element has to end by itself, so that Slurm, too, calls it as it ended
    :raises UnavailableError: Slurm does not answer, or an element does not end
    """
    wanted = set(runs)
    concerned = {one.job_id: one for one in submissions if one.job_id is not None and wanted & set(one.runs)}
    left = _alive(client, concerned, wanted)
    patience = time.monotonic() + grace_s
    while left and time.monotonic() < patience:
        time.sleep(tunables.EARLIER_END_FIRST_S)
        left = _alive(client, concerned, wanted)
    if left:
        client.cancel([elements_of(job_id, indices) for job_id, indices in left.items()])
    deadline = time.monotonic() + tunables.EARLIER_END_WAIT_S
    while left:
        if time.monotonic() >= deadline:
            elements = ", ".join(elements_of(job_id, indices) for job_id, indices in left.items())
            raise UnavailableError(
                f"{elements} of an earlier submission was cancelled and has not ended within"
                f" {tunables.EARLIER_END_WAIT_S:g} s, and a run must not run twice:"
                " see `squeue`, and try again when it is gone; nothing was submitted"
            )
        time.sleep(tunables.EARLIER_END_POLL_S)
        left = _alive(client, concerned, wanted)


def _alive(client: SlurmClient, submissions: Mapping[str, Submission], runs: set[int]) -> dict[str, list[int]]:
    """The elements of these runs that Slurm shows as not over: job id -> array indices."""
    alive: dict[str, list[int]] = {}
    for row in client.queue(submissions):
        submission = submissions.get(row.array_job_id)
        if submission is None or row.index is None or row.state.is_final:
            continue
        if submission.run_at(row.index) in runs:
            alive.setdefault(row.array_job_id, []).append(row.index)
    return alive
