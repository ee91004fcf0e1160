"""Conditions on swept parameters and results: ``model.lr>0.05``, ``result>=0.9``, ``model=mlp``, ``x=1.0``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpcorch.errors import UsageError
from hpcorch.model.entities import Run
from hpcorch.model.value_text import literal_of, number_of, text_of, typed_text
from hpcorch.model.values import is_nan, same
from hpcorch.quick_dataclasses import dataclass

RESULT = "result"
_OWN_KEYS = ("run", "seed", "state")
# A value does not begin with a sign of a relation: that is a relation misspelt, as in `seed=>2`.
_CONDITION = re.compile(r"\s*([^<>=!\s]+)\s*(<=|>=|!=|==|=|<|>)\s*([^<>=!\s].*?)\s*", re.DOTALL)
_ORDERED: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a value of a run must be like.

    :param key: a swept parameter, ``seed``, ``state``, ``result``, or a part of a result such as ``result.loss``
    """

    key: str
    relation: str
    value: str

    def holds(self, run: Run) -> bool:
        """Whether the run has such a value.

        Of numbers any relation may hold. A parameter equals a value of its type only: ``1`` is no ``1.0``, and
        ``true`` no ``1``. Other numbers are equal as numbers, and everything else as text.
        """
        if self.key in run.params:
            return self.is_met_by(run.params[self.key])
        found = value_of(run, self.key)
        if self.relation in _ORDERED:
            return self._is_in_order(found)
        return found is not None and self._is(_equals_as_number(found, self.value))

    def is_met_by(self, value: Any) -> bool:
        """Whether a parameter with this value, in plain form, is like that."""
        if self.relation in _ORDERED:
            return self._is_in_order(value)
        return self._is(_equals(value, self.value))

    def _is_in_order(self, found: Any) -> bool:
        mine, wanted = number_of(found), number_of(self.value)
        return mine is not None and wanted is not None and _ORDERED[self.relation](mine, wanted)

    def _is(self, equal: bool) -> bool:  # noqa: FBT001
        return equal is (self.relation != "!=")


def parse_condition(text: str) -> Condition:
    """Read ``KEY RELATION VALUE``, the relation being one of ``= != < <= > >=``.

    :raises UsageError: the text has another form
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} is not a condition: write a key, = != < <= > or >=, and a value, as in 'result>=0.9'"
        )
    return Condition(key=match[1], relation=match[2], value=match[3])


def all_hold(conditions: Iterable[Condition], run: Run) -> bool:
    """Whether all conditions hold of a run."""
    return all(condition.holds(run) for condition in conditions)


def check_keys(conditions: Sequence[Condition], runs: Iterable[Run]) -> None:
    """Refuse a condition on a key that none of the runs has, and one that a parameter misses by its type alone.

    Of no runs nothing is refused. Before one has a result, any part of results may be meant.

    :raises UsageError: with the keys that there are, or the value that may be meant
    """
    if not conditions:
        return
    runs = list(runs)
    some = False
    params: dict[str, None] = {}
    results: dict[str, None] = {}
    for run in runs:
        some = True
        params.update(dict.fromkeys(run.params))
        results.update(dict.fromkeys(result_values(run)))
    known = dict.fromkeys([*params, *_OWN_KEYS, *results])
    for key in (condition.key for condition in conditions):
        awaited = not results and key.partition(".")[0] == RESULT
        if some and key not in known and not awaited:
            raise UsageError(f"no run has {key!r}, which a condition is on; keys are {', '.join(known)}")
    for condition in conditions:
        check_type(condition, [run.params[condition.key] for run in runs if condition.key in run.params])


def check_type(condition: Condition, values: Sequence[Any]) -> None:
    """Refuse a condition that a parameter misses by its type alone.

    :param values: what the parameter is in all runs, in plain form
    :raises UsageError: with the value that may be meant
    """
    if condition.relation == "!=" or any(map(condition.is_met_by, values)):
        return
    for value in values:
        if condition.relation in ("=", "==") and value is not None and _equals_as_number(value, condition.value):
            meant = f"{condition.key}={typed_text(value)}"
            raise UsageError(
                f"no run has {condition.key}={condition.value}; {meant} is a value of another type, which some"
                f" have: write '{meant}'"
            )


def value_of(run: Run, key: str) -> Any:
    """A run's value under a key; None if it has none."""
    if key in run.params:
        return run.params[key]
    if key in _OWN_KEYS:
        return run.state.value if key == "state" else getattr(run, key)
    return result_values(run).get(key)


def result_values(run: Run) -> dict[str, Any]:
    """A result by column: ``result`` itself, or each value of one that is a mapping, as ``result.loss``."""
    return dict(_leaves(RESULT, run.result))


def _leaves(key: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(f"{key}.{name}", item)
    elif value is not None:
        yield key, value


def _equals(found: Any, text: str) -> bool:
    """Whether a value of a configuration is the one that a text stands for in an override."""
    if same(found, literal_of(text)):
        return True
    return isinstance(found, (Path, bytes, list, dict)) and text_of(found) == text


def _equals_as_number(found: Any, text: str) -> bool:
    mine, wanted = number_of(found), number_of(text)
    if mine is None or wanted is None:
        return text_of(found) == text
    return mine == wanted or (is_nan(mine) and is_nan(wanted))
