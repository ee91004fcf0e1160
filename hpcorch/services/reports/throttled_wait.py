"""Why a run of a throttled array waits: for its share, or for its user."""

from __future__ import annotations

from typing import Final

from hpcorch.errors import HpcorchError
from hpcorch.model.entities import Submission
from hpcorch.resources.shares import OWN
from hpcorch.services.throttling.queue_view import HELD
from hpcorch.services.throttling.state import Entry, state_directory
from hpcorch.services.throttling.throttles import Throttles
from hpcorch.services.throttling.usage import ResourceUse, SweepUse
from hpcorch.slurm.protocol import SlurmClient
from hpcorch.slurm.reasons import Explanation

ARRAY_LIMIT: Final = "JobArrayTaskLimit"


def share_of(submission: Submission, run: int, reason: str | None, client: SlurmClient) -> Explanation | None:
    """Why a waiting run has no share of what it uses; None if it uses nothing throttled, or its user holds it.

    :param reason: Slurm's: such a run is held (``JobHeldUser``) with its array, or the array is at its limit
    """
    try:
        throttles = Throttles(state_directory(), client.config().cluster, client)
        entry = throttles.entry(submission.job_id or "")
        if entry is None or _is_kept(submission, run, entry) or (reason == HELD and not entry.held):
            return None
        uses = [use for use in throttles.view({}) if use.name in entry.units]
    except (HpcorchError, ValueError):
        return None
    if entry.bound is not None and entry.limit >= entry.bound:
        return None  # it is the user's own array_parallelism
    if _is_own(uses, entry):
        return Explanation(
            meaning=(
                f"its sweep has reached its limit of running runs ({entry.bound} at once, over all of its arrays)"
            ),
            sooner=(
                "it starts when one of them ends; to change the limit, use `hpcorch retry` with another"
                " array_parallelism"
            ),
        )
    short = [use for use in uses if _is_short(use, entry)] or uses
    if not any(_is_short(use, entry) for use in uses):
        return Explanation(
            meaning=f"it waits for its share of {_names(short)}, which is free now",
            sooner=f"`hpcorch tend {submission.sweep}` lets it start",
        )
    told = "; ".join(_told(use, submission.sweep) for use in short)
    return Explanation(
        meaning=f"it waits for its share of {_names(short)}: {told}",
        sooner="it starts when runs that use it end; `hpcorch resources` shows who does",
    )


def _is_kept(submission: Submission, run: int, entry: Entry) -> bool:
    """Whether its user holds the run: of a packed array all that wait, or none."""
    return bool(entry.kept) if submission.is_packed else submission.index_of(run) in entry.kept


def _is_own(uses: list[ResourceUse], entry: Entry) -> bool:
    """Whether it waits for other runs of its sweep alone: for what they have to themselves (array_parallelism)."""
    short = [use.name for use in uses if _is_short(use, entry)]
    return bool(short) and all(name.startswith(OWN) for name in short)


def _is_short(use: ResourceUse, entry: Entry) -> bool:
    return use.capacity is None or use.in_use + entry.units[use.name] > use.capacity


def _names(uses: list[ResourceUse]) -> str:
    return " and ".join(use.name for use in uses)


def _told(use: ResourceUse, own: str) -> str:
    by = ", ".join(f"{one.in_use} by {_whose(one, own)}" for one in use.sweeps if one.in_use)
    return f"of {use.capacity} in all, {use.in_use} are in use{f' ({by})' if by else ''}"


def _whose(one: SweepUse, own: str) -> str:
    return "this sweep" if one.sweep == own else f"sweep {one.sweep}"
