"""The keys of ``hydra/sweeper=hpcorch``, checked once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

from hpcorch.errors import UsageError
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.selection.conditions import Condition, parse_condition

SHOWN: Final = 100  # characters of a value, in a sentence

#: Each key with its default; those of Hydra's basic sweeper are among them.
DEFAULTS: Final[dict[str, Any]] = {
    "max_batch_size": None,
    "params": None,
    "zip": None,
    "grids": None,
    "runs": None,
    "exclude": None,
    "sample": None,
    "sample_seed": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepKeys:
    """What a sweep does beside the product of what is typed.

    :param max_batch_size: how many runs are launched at a time; None for all
    :param params: overrides by key, as if they stood first on the command line
    :param zip: groups of keys whose values are taken together, first with first
    :param grids: overrides by key; each mapping is a grid, and the runs are those of one after the other
    :param runs: a file with a run a line, or None
    :param exclude: a run is left out if all conditions of one of these hold
    :param sample: how many runs are drawn; None for all
    :param sample_seed: what they are drawn by
    """

    max_batch_size: int | None = None
    params: Mapping[str, Any]
    zip: tuple[tuple[str, ...], ...] = ()
    grids: tuple[Mapping[str, Any], ...] = ()
    runs: str | None = None
    exclude: tuple[tuple[Condition, ...], ...] = ()
    sample: int | None = None
    sample_seed: int = 0

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> SweepKeys:
        """Read the keys as the configuration has them.

        :raises UsageError: a key is unknown, or its value of the wrong kind
        """
        for key in given:
            if key not in DEFAULTS:
                close = difflib.get_close_matches(key, DEFAULTS, n=1)
                cure = f"did you mean {close[0]}?" if close else f"it has {', '.join(DEFAULTS)}"
                raise UsageError(f"hydra.sweeper.{key} is not a key of hydra/sweeper=hpcorch; {cure}")
        return cls(
            max_batch_size=_count("max_batch_size", given.get("max_batch_size"), least=1),
            params=_params(given.get("params")),
            zip=tuple(map(tuple, _groups("zip", given.get("zip"), "[lr,decay]"))),
            grids=tuple(_grids(given.get("grids"))),
            runs=_text("runs", given.get("runs")),
            exclude=tuple(
                tuple(map(_condition, group))
                for group in _groups("exclude", given.get("exclude"), "['model=cnn','lr>0.1']", each=True)
            ),
            sample=_count("sample", given.get("sample"), least=1),
            sample_seed=_count("sample_seed", given.get("sample_seed"), least=0) or 0,
        )


def _groups(key: str, value: Any, example: str, *, each: bool = False) -> list[list[str]]:
    """Lists of texts; a list of texts alone is one group, or with ``each`` a group for each text."""
    if value is None:
        return []
    items = [value] if isinstance(value, str) else value
    wrong = _wrong(key, value, f"a list such as {example}, or a list of such lists")
    if not isinstance(items, list):
        raise wrong
    texts = [item for item in items if isinstance(item, str)]
    groups = [[item] if isinstance(item, str) else item for item in items]
    if not all(isinstance(group, list) and group for group in groups):
        raise wrong
    if not all(isinstance(name, str) for group in groups for name in group):
        raise wrong
    if each or not texts:
        return groups
    if len(texts) != len(items):
        raise wrong
    return [texts]


def _condition(text: str) -> Condition:
    try:
        return parse_condition(text)
    except UsageError as error:
        raise UsageError(f"hydra.sweeper.exclude: {error}") from error


def _params(value: Any) -> Mapping[str, Any]:
    params = {} if value is None else value
    if not isinstance(params, dict) or not all(isinstance(key, str) for key in params):
        raise _wrong("params", value, "a mapping such as {lr: '0.1,0.2'}")
    return params


def _grids(value: Any) -> list[Mapping[str, Any]]:
    grids = [] if value is None else value
    if not isinstance(grids, list) or not all(
        isinstance(grid, dict) and grid and all(isinstance(key, str) for key in grid) for grid in grids
    ):
        raise _wrong("grids", value, "a list of mappings such as {model: cnn, lr: '0.1,0.2'}")
    return grids


def _text(key: str, value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise _wrong(key, value, "the path of a file")
    return value


def _count(key: str, value: Any, *, least: int) -> int | None:
    if value is not None and (type(value) is not int or value < least):
        raise _wrong(key, value, f"a whole number from {least} on")
    return value


def _wrong(key: str, value: Any, wanted: str) -> UsageError:
    from hpcorch.model.value_text import shortened  # a job that starts has no wrong value

    return UsageError(f"hydra.sweeper.{key} is {shortened(repr(value), SHOWN)}, but has to be {wanted}")
