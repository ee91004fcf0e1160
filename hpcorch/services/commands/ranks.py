"""A command that srun starts several times over, once for each rank: rank 0 records it, the others go along.

They get the seed and the checkpoint directory of the same run. Rank 0 leaves a file for them when the command may
start, since the sweep may be one that it has only just made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import UnavailableError
from hpcorch.journal.files import write_whole
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.events import Fact
from hpcorch.model.ids import AttemptId
from hpcorch.services.commands.job import Job
from hpcorch.services.commands.process import Limits
from hpcorch.services.commands.record import Call, CommandRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """What rank 0 has said.

    :param warn_at: as in :class:`hpcorch.services.commands.process.Limits`
    :param kill_at: likewise
    """

    layout: SweepLayout
    warn_at: float | None
    kill_at: float | None


class FollowingRecord(CommandRecord):
    """The record of a rank other than 0: none."""

    def __init__(self, layout: SweepLayout, attempt: AttemptId, launch: int) -> None:
        super().__init__(layout, attempt, launch, _NoJournal(), Call(argv=()))


class _NoJournal:
    def append(self, fact: Fact, *, durable: bool = False) -> None:
        """Nothing is written."""


def lead_on(job: Job | None, record: CommandRecord, limits: Limits) -> None:
    """As rank 0, have the others start.

    :raises OSError: the file for them cannot be written
    """
    if job is None or job.ranks == 1 or job.rank > 0:
        return
    write_whole(
        _mark(record.layout, record.attempt, job), f"{limits.warn_at or ''},{limits.kill_at or ''}".encode()
    )


def follow(
    job: Job, attempt: AttemptId, candidates: Callable[[], Iterable[SweepLayout]], *, patient: bool
) -> Leader:
    """As another rank, wait for rank 0.

    :param candidates: gives the sweeps that rank 0 may record the command in
    :param patient: wait for as long as it takes: rank 0 waits for a lease
    :raises UnavailableError: rank 0 did not begin
    """
    deadline = time.monotonic() + tunables.RANKS_WAIT_S
    while patient or time.monotonic() < deadline:
        for layout in candidates():
            if (led := _led(layout, attempt, job)) is not None:
                return led
        time.sleep(tunables.SHARED_FILE_POLL_S)
    raise UnavailableError(
        f"rank 0 of step {job.step} of job {job.element} has not begun for {tunables.RANKS_WAIT_S:g} s,"
        f" so rank {job.rank} does not know which run it belongs to: nothing was executed."
        " `hpcorch exec -- srun …` needs no agreement"
    )


def _led(layout: SweepLayout, attempt: AttemptId, job: Job) -> Leader | None:
    try:
        warn_at, kill_at = _mark(layout, attempt, job).read_text().split(",")
    except OSError:
        return None
    return Leader(
        layout=layout,
        warn_at=float(warn_at) if warn_at else None,
        kill_at=float(kill_at) if kill_at else None,
    )


def _mark(layout: SweepLayout, attempt: AttemptId, job: Job) -> Path:
    return layout.journals / f"{attempt}.step-{job.step}"
