"""Runs of one or several sweeps side by side: a row a run, a column a swept parameter or value of a result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hpcorch.errors import UsageError
from hpcorch.ledger import Ledger
from hpcorch.model.entities import Run
from hpcorch.model.states import RunState
from hpcorch.model.value_text import number_of, text_of
from hpcorch.model.values import is_nan
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.reports.reruns import RunName, stand_in_texts, stand_ins
from hpcorch.services.selection.conditions import Condition, all_hold, check_keys, result_values, value_of
from hpcorch.services.selection.selectors import Selector, select_runs
from hpcorch.services.tending.refresh import RefreshResult, bring_up_to_date


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs with what they have in common as columns.

    :param params: every parameter that some run sweeps, in the order in which they are met
    :param results: likewise the values of results: ``result``, or ``result.loss`` of a mapping
    :param stand_ins: runs that were selected as well -> the run of a rerun that has their place
    """

    runs: Sequence[Run]
    params: Sequence[str]
    results: Sequence[str]
    refreshes: Sequence[RefreshResult]
    stand_ins: Mapping[RunName, RunName]

    @property
    def notices(self) -> list[str]:
        """Sentences about runs that are left out for those that repeat them, and what could not be refreshed."""
        return [*stand_in_texts(self.stand_ins), *(notice for one in self.refreshes for notice in one.notices)]

    @property
    def exit_code(self) -> int:
        """What ends a command that was asked to refresh: 0, or 3 if Slurm did not answer."""
        return max((one.exit_code for one in self.refreshes), default=0)

    @property
    def unfinished(self) -> int:
        """How many of the runs are not over."""
        return sum(not run.state.is_final for run in self.runs)

    @property
    def completed(self) -> bool:
        """Whether every run completed."""
        return all(run.state is RunState.COMPLETED for run in self.runs)

    @property
    def columns(self) -> list[str]:
        """The names of all columns."""
        return ["sweep", "run", "state", *self.params, *self.results]

    def row(self, run: Run) -> list[Any]:
        """The values of a run, column by column; None where it has none."""
        results = result_values(run)
        params = [run.params.get(key) for key in self.params]
        return [run.sweep, run.run, run.state.value, *params, *(results.get(key) for key in self.results)]

    def as_plain(self) -> list[dict[str, Any]]:
        """As JSON-able data, a mapping a run."""
        return [
            {
                "sweep": run.sweep,
                "run": run.run,
                "state": run.state.value,
                "params": dict(run.params),
                "result": run.result,
                "error": run.error,
                "reason": run.reason,
            }
            for run in self.runs
        ]


def compare(
    ledger: Ledger,
    selectors: Iterable[Selector],
    *,
    conditions: Sequence[Condition] = (),
    sort: str | None = None,
    descending: bool = False,
    refresh: bool = False,
) -> Comparison:
    """The selected runs, brought up to date, side by side. A run that another of them repeats is left out.

    :param conditions: only runs of which all of these hold
    :param sort: a column, by which the runs are sorted; those without a value come last
    :param refresh: ask Slurm about runs that are not over
    :raises NotFoundError: no sweep or run is selected
    :raises UsageError: there is no such column, or no run has what a condition is on
    """
    found: dict[tuple[str, int], Run] = {}
    refreshes = []
    for selector in selectors:
        known = ledger.sweep(selector.sweep)
        refreshes.append(bring_up_to_date(ledger, [known], refresh=refresh))
        found.update(((run.sweep, run.run), run) for run in select_runs(ledger, known.sweep.id, selector))
    stand_in = stand_ins(ledger, found)
    chosen = [found[name] for name in dict.fromkeys(_last(name, stand_in) for name in found)]
    check_keys(conditions, chosen)
    runs = [run for run in chosen if all_hold(conditions, run)]
    comparison = Comparison(
        runs=runs,
        params=list(dict.fromkeys(key for run in runs for key in run.params)),
        results=list(dict.fromkeys(key for run in runs for key in result_values(run))),
        refreshes=refreshes,
        stand_ins=stand_in,
    )
    return comparison if sort is None else _sorted(comparison, sort, descending=descending)


def _last(name: RunName, stand_in: Mapping[RunName, RunName]) -> RunName:
    while name in stand_in:
        name = stand_in[name]
    return name


def _sorted(comparison: Comparison, key: str, *, descending: bool) -> Comparison:
    if key not in (*comparison.columns, "seed") and comparison.runs:
        raise UsageError(f"there is no column {key!r} to sort by; columns are {', '.join(comparison.columns)}")
    known = [run for run in comparison.runs if _sort_value(run, key) is not None]
    missing = [run for run in comparison.runs if _sort_value(run, key) is None]
    ordered = sorted(known, key=lambda run: _sort_value(run, key), reverse=descending)
    return replace(comparison, runs=[*ordered, *missing])


def _sort_value(run: Run, key: str) -> Any:
    """A value that can be compared with any other: numbers come before texts. None for no value, and for NaN."""
    value = run.sweep if key == "sweep" else value_of(run, key)
    if value is None:
        return None
    number = int(value) if isinstance(value, bool) else number_of(value)
    if number is None:
        return (1, 0, text_of(value))
    return None if is_nan(number) else (0, number, "")
