"""What a call of :class:`hpcorch.Ledger` selects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from hpcorch.api.records import RunRecord, SweepRecord
from hpcorch.errors import UsageError
from hpcorch.ledger import LAST, Ledger
from hpcorch.model.entities import Run
from hpcorch.model.ids import format_time
from hpcorch.model.states import RunState
from hpcorch.services.reports.tables import Columns
from hpcorch.services.selection.conditions import all_hold, check_keys, parse_condition
from hpcorch.services.selection.selectors import (
    Selector,
    one_of,
    parse_selector,
    parse_since,
    parse_states,
    select_indices,
    select_runs,
)

# One text, or several.
Texts = str | Iterable[str]

# Who has a record need not spell its id.
Selectable = str | SweepRecord | RunRecord


def chosen_by(selector: Selectable) -> Selector:
    return parse_selector(selector if isinstance(selector, str) else selector.id)


def states_of(state: Texts | None) -> frozenset[RunState] | None:
    if state is None:
        return None
    return parse_states(state if isinstance(state, str) else ",".join(state))


def since_of(since: str | datetime | None) -> str | None:
    if isinstance(since, str):
        return parse_since(since, datetime.now(timezone.utc))
    return None if since is None else format_time(since)


def selected(
    ledger: Ledger,
    selectors: Iterable[Selectable],
    state: Texts | None = None,
    where: Texts = (),
) -> list[Run]:
    """The runs that are selected, each once."""
    conditions = [parse_condition(text) for text in ([where] if isinstance(where, str) else where)]
    states = states_of(state)
    found: dict[tuple[str, int], Run] = {}
    for selector in tuple(selectors) or (LAST,):
        chosen = replace(chosen_by(selector), states=states)
        sweep = ledger.sweep(chosen.sweep).sweep.id
        found.update(((run.sweep, run.run), run) for run in select_runs(ledger, sweep, chosen))
    check_keys(conditions, found.values())
    return [run for run in found.values() if all_hold(conditions, run)]


def the_one(ledger: Ledger, selector: Selectable) -> Run:
    found = selected(ledger, [selector])
    if len(found) != 1:
        named = selector if isinstance(selector, str) else selector.id
        example = one_of(found[0].sweep if found else "last", found)
        raise UsageError(
            f"{named!r} selects {len(found)} runs, but only one is expected: name one, such as {example}"
        )
    return found[0]


def settings_of(ledger: Ledger, runs: Sequence[Run], keys: Sequence[str]) -> Columns:
    """The values of configurations under dotted keys, key by key; of a config group what was chosen, if it was."""
    configs = [ledger.config(run.sweep, run.run) for run in runs] if keys else []
    found = {
        key: [run.params.get(key, _under(config, key)) for run, config in zip(runs, configs, strict=True)]
        for key in keys
    }
    for key, values in found.items():
        if runs and all(value is None for value in values):
            shown = f"`hpcorch show {runs[0].sweep}/{runs[0].run}`"
            raise UsageError(f"no configuration of these runs has a value under {key!r}: see {shown}")
    return found


def _under(config: Any, key: str) -> Any:
    for name in key.split("."):
        if isinstance(config, list) and name.isdigit() and int(name) < len(config):
            config = config[int(name)]
        else:
            config = config.get(name) if isinstance(config, dict) else None
    return config


def places(ledger: Ledger, selectors: Iterable[Selectable]) -> list[tuple[str, list[int] | None]]:
    """The sweeps that are selected, with the indices of their runs; None for all."""
    found = []
    for selector in tuple(selectors) or (LAST,):
        chosen = chosen_by(selector)
        sweep = ledger.sweep(chosen.sweep).sweep.id
        found.append((sweep, list(select_indices(ledger, sweep, chosen)) if chosen.names_runs else None))
    return found
