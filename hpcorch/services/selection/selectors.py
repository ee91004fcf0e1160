"""Selectors: how a person names sweeps, runs, states and times on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from hpcorch.errors import NotFoundError, UsageError
from hpcorch.ledger import LAST, Ledger
from hpcorch.model.entities import Run
from hpcorch.model.ids import format_time
from hpcorch.model.states import RunState
from hpcorch.quick_dataclasses import dataclass

_SELECTOR = re.compile(r"([^/\s]+)(?:/(\d{1,9}(?:-\d{1,9})?(?:,\d{1,9}(?:-\d{1,9})?)*))?", re.ASCII)
_ELEMENT = re.compile(r"job=(\d+)_(\d{1,9})", re.ASCII)
_SEVERAL_ELEMENTS = re.compile(r"job=(\d+)_\S*", re.ASCII)
_DURATION = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Runs of one sweep, as named.

    :param sweep: a sweep's id, the beginning of one, or ``last``
    :param ranges: run indices; None for all
    :param states: only runs in one of these; None for all
    :param element: a job array's id and an index in it: the run that this element of it executes, or the runs that
        it has executed
    """

    sweep: str = LAST
    ranges: tuple[range, ...] | None = None
    states: frozenset[RunState] | None = None
    element: tuple[str, int] | None = None

    @property
    def names_runs(self) -> bool:
        """Whether it names some runs, and not the whole sweep."""
        return self.ranges is not None or self.element is not None


def parse_selector(text: str, states: str | None = None) -> Selector:
    """Read a sweep (``last``, its id or the beginning, ``job=369``), runs of one (``last/3-5,9``), ``job=369_3``.

    :param states: states as :func:`parse_states` reads them
    :raises UsageError: the text has another form
    """
    chosen = None if states is None else parse_states(states)
    if element := _ELEMENT.fullmatch(text):
        return Selector(sweep=f"job={element[1]}", states=chosen, element=(element[1], int(element[2])))
    if several := _SEVERAL_ELEMENTS.fullmatch(text):
        raise UsageError(
            f"{text!r} is not a single element of an array: job={several[1]}_3 selects one, job={several[1]} the"
            f" sweep of all, and job={several[1]}/3-5,9 some of its runs"
        )
    match = _SELECTOR.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} selects nothing: give `last`, a sweep id or its beginning, or runs of one such as last/3-5,9"
        )
    sweep, runs = match.groups()
    return Selector(
        sweep=sweep,
        ranges=None if runs is None else tuple(_range(part) for part in runs.split(",")),
        states=chosen,
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


def one_of(sweep: str, runs: Sequence[Run]) -> str:
    """One of several runs that are selected, as a selector: where a message says to name one."""
    return f"{sweep}/{runs[0].run if runs else 0}"


def select_indices(ledger: Ledger, sweep: str, selector: Selector) -> Iterator[int]:
    """The indices of the selected runs, in order, read as they are asked for where all runs are selected.

    The parameters and errors are those of :func:`select_runs`.
    """
    if not selector.names_runs:
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
    if selector.element is not None:
        return _runs_of(ledger, sweep, *selector.element)
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


def _runs_of(ledger: Ledger, sweep: str, job: str, index: int) -> list[int]:
    """The run that an element of an array executes; of a packed array those that it has begun to execute."""
    of_job = [one for one in ledger.submissions(sweep) if one.job_id == job]
    packed = [one for one in of_job if one.is_packed and index in one.elements]
    if packed:
        return _begun_by(ledger, sweep, f"{job}_{index}")
    found = next((run for one in of_job if (run := one.run_at(index)) is not None), None)
    if found is None:
        raise NotFoundError(
            f"the job {job} of sweep {sweep} has no element {index}: see `hpcorch status job={job}`"
        )
    return [found]


def _begun_by(ledger: Ledger, sweep: str, element: str) -> list[int]:
    found = {attempt.run for attempt in ledger.attempts(sweep) if attempt.job_id == element}
    if not found:
        raise NotFoundError(f"the task {element} of sweep {sweep} has not taken a run")
    return sorted(found)


def _extent(first: int, last: int) -> str:
    return f"its runs are {first} to {last}" if last >= first else "it has no runs yet"
