"""Tending one sweep or all live ones, from a command."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hpcorch.errors import HpcorchError, UnavailableError
from hpcorch.ledger import Ledger, SweepSummary, readable_record
from hpcorch.model.states import Backend
from hpcorch.services.tending.ownership import check_own, is_own
from hpcorch.services.tending.refresh import may_have_news
from hpcorch.services.tending.steady import SteadyReconciler
from hpcorch.services.tending.tend import look_after
from hpcorch.services.tending.tend_result import TendResult
from hpcorch.services.tending.unsubmitted import retries_to_come
from hpcorch.slurm.choose import slurm_client
from hpcorch.slurm.protocol import SlurmClient


def tend_all(writer: Ledger, selector: str | None, client: SlurmClient | None = None) -> list[TendResult]:
    """Look at sweeps, ask Slurm about them, and do what is to be done.

    :param writer: open for writing
    :param selector: one sweep; None for all of this user's on Slurm that are not over
    :return: what came of each; a sweep that cannot be looked at has that as its trouble
    :raises NotFoundError: no sweep is selected
    :raises UsageError: the one that is selected is another user's, or on another cluster
    """
    client = client or slurm_client()
    if selector is None:
        return [_look_after(writer, summary, client) for summary in list(_live(writer))]
    summary = writer.sweep(selector)
    check_own(summary.sweep, client, readable_record(writer, summary.sweep))
    return [_look_after(writer, summary, client)]


def _live(ledger: Ledger) -> Iterator[SweepSummary]:
    for summary in ledger.sweeps():
        mine = summary.sweep.backend is Backend.SLURM and is_own(summary.sweep) and not _is_lost(ledger, summary)
        if mine and (may_have_news(ledger, summary) or retries_to_come(ledger, summary.sweep.id)):
            yield summary


def _is_lost(ledger: Ledger, summary: SweepSummary) -> bool:
    """Whether nothing can be done about a sweep: its record cannot be read, and its runs are closed."""
    return all(state.is_final for state in summary.counts) and readable_record(ledger, summary.sweep) is None


def _look_after(writer: Ledger, summary: SweepSummary, client: SlurmClient) -> TendResult:
    told: list[HpcorchError] = []
    try:
        with SteadyReconciler.of(
            writer.path, summary.sweep, lambda sentence: told.append(UnavailableError(sentence))
        ) as reconciler:
            if summary.sweep.backend is Backend.LOCAL:
                reconciler.look_local()
                return TendResult(sweep=summary.sweep.id, troubles=tuple(told), gone=reconciler.why_gone)
            done = look_after(reconciler, client, begins=True)
        return replace(done, troubles=(*told, *done.troubles))
    except (HpcorchError, OSError) as error:
        trouble = error if isinstance(error, HpcorchError) else _unreadable(error)
        return TendResult(sweep=summary.sweep.id, troubles=(*told, trouble))


def _unreadable(error: OSError) -> UnavailableError:
    return UnavailableError(f"its record cannot be read now ({error.strerror}: {error.filename})")
