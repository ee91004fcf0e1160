"""Conditions on swept parameters and results: ``model.lr>0.05``, ``result>=0.9``, ``model=mlp``."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hpcorch.errors import UsageError
from hpcorch.model.entities import Run
from hpcorch.quick_dataclasses import dataclass

RESULT = "result"
_OWN_KEYS = ("run", "seed", "state")
# A value does not begin with a sign of a relation: that is a relation misspelt, as in `seed=>2`.
_CONDITION = re.compile(r"\s*([^<>=!\s]+)\s*(<=|>=|!=|==|=|<|>)\s*([^<>=!\s].*?)\s*", re.DOTALL)
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
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
        """Whether the run has such a value. Numbers are compared as numbers, other values as text."""
        found = value_of(run, self.key)
        if found is None:
            return False
        mine, wanted = _number(found), _number(self.value)
        if mine is not None and wanted is not None:
            return _COMPARE[self.relation](mine, wanted)
        if self.relation not in ("=", "==", "!="):
            return False  # texts have no order that anybody means
        return _COMPARE[self.relation](text_of(found), self.value)


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
    """Refuse a condition on a key that none of the runs has.

    Of no runs nothing is refused. Before one has a result, any part of results may be meant.

    :raises UsageError: with the keys that there are
    """
    if not conditions:
        return
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


def text_of(value: Any) -> str:
    """A value as one writes it in an override: text without quotation marks."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _leaves(key: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(f"{key}.{name}", item)
    elif value is not None:
        yield key, value


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except ValueError:
        return None
