"""Selectors: how a person names sweeps, runs, states and times on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from hpcorch.errors import NotFoundError, UsageError
from hpcorch.ledger import LAST, Ledger
from hpcorch.model.entities import Run
from hpcorch.model.ids import format_time
from hpcorch.model.states import RunState

_SELECTOR = re.compile(r"([^/\s]+)(?:/(\d{1,9}(?:-\d{1,9})?(?:,\d{1,9}(?:-\d{1,9})?)*))?", re.ASCII)
_DURATION = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Runs of one sweep, as named.

    :param sweep: a sweep's id, the beginning of one, or ``last``
    :param ranges: run indices; None for all
    :param states: only runs in one of these; None for all
    """

    sweep: str = LAST
    ranges: tuple[range, ...] | None = None
    states: frozenset[RunState] | None = None


def parse_selector(text: str, states: str | None = None) -> Selector:
    """Read ``last``, a sweep id or its beginning, or either with runs: ``last/3-5,9``.

    :param states: states as :func:`parse_states` reads them
    :raises UsageError: the text has another form
    """
    match = _SELECTOR.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} selects nothing: give `last`, a sweep id or its beginning, or runs of one such as last/3-5,9"
        )
    sweep, runs = match.groups()
    return Selector(
        sweep=sweep,
        ranges=None if runs is None else tuple(_range(part) for part in runs.split(",")),
        states=None if states is None else parse_states(states),
    )


def _range(text: str) -> range:
    low, _, high = text.partition("-")
    found = range(int(low), int(high or low) + 1)
    if not found:
        raise UsageError(f"the runs {text} are none: write the lower index first, {high}-{low}")
    return found


def parse_states(text: str) -> frozenset[RunState]:
    """Read states by full name or Slurm's short code, in any case: ``F,TO,out_of_memory``.

    :raises UsageError: there is no such state
    """
    try:
        return frozenset(RunState.parse(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(str(error)) from error


def parse_since(text: str, now: datetime) -> str:
    """Read a moment: an age such as ``30m``, ``12h``, ``2d``, ``1w``, or a date or time as ISO 8601 writes it.

    :param now: aware
    :return: UTC, as :func:`hpcorch.model.ids.format_time` writes it; a time without a zone is this machine's
    :raises UsageError: the text has another form
    """
    age = _DURATION.fullmatch(text)
    try:
        if age is not None:
            return format_time(now - timedelta(**{_UNITS[age[2]]: int(age[1])}))
        return format_time(datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text)).astimezone())
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is not a time: give an age such as 30m, 12h, 2d, 1w, or a date such as 2026-11-23 or"
            " 2026-11-23T14:30"
        ) from error


def select_runs(ledger: Ledger, sweep: str, selector: Selector, *, limit: int | None = None) -> list[Run]:
    """The selected runs of a sweep, in order of their index.

    :param sweep: the sweep's whole id, found with :meth:`hpcorch.ledger.store.Ledger.sweep`
    :param limit: at most so many
    :raises NotFoundError: a run that is named does not exist
    """
    indices = _named(ledger, sweep, selector)
    return ledger.runs(sweep, indices=indices, states=selector.states, limit=limit)


def select_indices(ledger: Ledger, sweep: str, selector: Selector) -> Iterator[int]:
    """The indices of the selected runs, in order, read as they are asked for where all runs are selected.

    The parameters and errors are those of :func:`select_runs`.
    """
    if selector.ranges is None:
        return ledger.indices(sweep, states=selector.states)
    return (run.run for run in select_runs(ledger, sweep, selector))


def count_selected(ledger: Ledger, sweep: str, selector: Selector) -> dict[RunState, int]:
    """How many of the selected runs are in which state.

    The parameters and errors are those of :func:`select_runs`.
    """
    counts = ledger.counts(sweep, indices=_named(ledger, sweep, selector))
    return {state: runs for state, runs in counts.items() if selector.states is None or state in selector.states}


def _named(ledger: Ledger, sweep: str, selector: Selector) -> list[int] | None:
    """The indices that a selector names, in order; None for all."""
    if selector.ranges is None:
        return None
    first, last = ledger.extent(sweep)
    highest = max(part[-1] for part in selector.ranges)
    if highest > last:
        raise NotFoundError(f"sweep {sweep} has no run {highest}: {_extent(first, last)}")
    for index in (part[0] for part in selector.ranges if len(part) == 1):
        if not ledger.counts(sweep, indices=[index]):
            raise NotFoundError(f"sweep {sweep} has no run {index}: {_extent(first, last)}, with gaps")
    return sorted({index for part in selector.ranges for index in part})


def _extent(first: int, last: int) -> str:
    return f"its runs are {first} to {last}" if last >= first else "it has no runs yet"
