"""Updating what the ledger knows before it is shown, as far as this user may at this moment.

What cannot be refreshed is still shown as the ledger has it, with a sentence that says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hpcorch.errors import HpcorchError, UnavailableError
from hpcorch.ledger import Ledger, SweepSummary, readable_record
from hpcorch.model.entities import SBATCH, Sweep
from hpcorch.model.events import CONTROL_SOURCE
from hpcorch.model.ids import utc_now
from hpcorch.model.states import UNSETTLED, Backend
from hpcorch.model.value_text import agreeing, counted

if TYPE_CHECKING:
    from hpcorch.services.tending.reconcile import Reconciler

# Sweeps that cannot be looked at are mostly old and many; a few examples tell why.
_NAMED_TROUBLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshResult:
    """What came of bringing the ledger up to date.

    :param times: sweep -> when it was looked at (UTC), of those that were
    :param notices: sentences on what could not be done
    :param exit_code: 0, or what ends a command that was asked to refresh and could not
    """

    times: Mapping[str, str] = field(default_factory=dict)
    notices: Sequence[str] = ()
    exit_code: int = 0


def bring_up_to_date(ledger: Ledger, sweeps: Iterable[SweepSummary], *, refresh: bool = False) -> RefreshResult:
    """Take over what journals have new, of the sweeps about which there can be news.

    Runs of a local pool that is gone are concluded. Never raises for a sweep that cannot be looked at.

    :param ledger: may be open for reading only; the news is stored through a connection of its own
    :param refresh: look at all of them, ask Slurm about those of its runs that are not over, and do what is to be
        done about them
    """
    wanted = [summary for summary in sweeps if refresh or may_have_news(ledger, summary)]
    if not wanted:
        return RefreshResult()
    times: dict[str, str] = {}
    troubles: dict[str, HpcorchError | OSError] = {}
    done: list[str] = []
    try:
        with Ledger.open(ledger.path, write=True) as writer:
            for summary in wanted:
                try:
                    done.extend(_look_at(_reconciler(writer, summary.sweep), summary.sweep, refresh=refresh))
                    if refresh or summary.sweep.sweeper != SBATCH:  # of whose jobs Slurm alone can tell
                        times[summary.sweep.id] = utc_now()
                except (HpcorchError, OSError) as error:
                    troubles[summary.sweep.id] = error
    except UnavailableError as error:
        return RefreshResult(
            notices=(f"shown as last recorded in the ledger: {error}",), exit_code=error.exit_code if refresh else 0
        )
    return RefreshResult(
        times=times,
        notices=(*done, *_notices(troubles)),
        exit_code=_exit_code(troubles.values()) if refresh else 0,
    )


def may_have_news(ledger: Ledger, summary: SweepSummary) -> bool:
    """Whether a run is unsettled, or somebody decided something that the ledger has not taken over."""
    if not summary.counts or not UNSETTLED.isdisjoint(summary.counts):
        return True
    layout = readable_record(ledger, summary.sweep)
    if layout is None:
        return False  # nothing more is expected of it, so that it is gone does not matter here
    with suppress(OSError):
        return layout.control.stat().st_size > ledger.offset(summary.sweep.id, CONTROL_SOURCE)
    return False


def bring_one_up_to_date(reconciler: Reconciler, sweep: Sweep, *, refresh: bool) -> RefreshResult:
    """The same for one sweep that is followed. Never raises if that cannot be done.

    :param refresh: ask Slurm, and do what is to be done
    """
    try:
        done = _look_at(reconciler, sweep, refresh=refresh)
    except (HpcorchError, OSError) as error:
        return RefreshResult(notices=_notices({sweep.id: error}))
    return RefreshResult(times={sweep.id: utc_now()}, notices=done)


def _reconciler(writer: Ledger, sweep: Sweep) -> Reconciler:
    from hpcorch.services.tending.reconcile import open_reconciler  # loads the way to Slurm, which few looks need

    return open_reconciler(writer, sweep.id)


def _look_at(reconciler: Reconciler, sweep: Sweep, *, refresh: bool) -> list[str]:
    """Look at one sweep; sentences on what was done about it."""
    if sweep.backend is Backend.LOCAL:
        reconciler.look_local()
    elif refresh:
        from hpcorch.services.tending.tend import look_after
        from hpcorch.slurm.choose import slurm_client

        return look_after(reconciler, slurm_client()).sentences
    else:
        reconciler.ingest()
    return []


def _notices(troubles: Mapping[str, HpcorchError | OSError]) -> tuple[str, ...]:
    named = [
        f"sweep {sweep} is shown as last recorded in the ledger: {error}"
        for sweep, error in list(troubles.items())[:_NAMED_TROUBLES]
    ]
    rest = len(troubles) - len(named)
    return (*named, f"so {agreeing(rest, 'is', 'are')} {counted(rest, 'more sweep')}") if rest else tuple(named)


def _exit_code(troubles: Iterable[HpcorchError | OSError]) -> int:
    codes = [
        error.exit_code if isinstance(error, HpcorchError) else UnavailableError.exit_code for error in troubles
    ]
    return max(codes, default=0)
