"""From what was typed and the sweeper's keys to the runs: one list of overrides each."""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from hpcorch.errors import UsageError
from hpcorch.launcher.sweeping.choices import Axis, Choice, axes_of, name_of, parsed, texts_of
from hpcorch.launcher.sweeping.grid import ENUMERABLE, Product, Space, in_random_order
from hpcorch.launcher.sweeping.runs_file import rows
from hpcorch.launcher.sweeping.sweep_keys import SweepKeys
from hpcorch.model.value_text import counted
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.selection.conditions import Condition, check_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """The runs of a sweep.

    :param runs: the overrides of each, in order, no two of which mean the same
    :param excluded: how many combinations were left out by a condition, of those that were looked at
    :param repeated: how many were left out because there was the same before, of those that were looked at
    """

    runs: Sequence[list[str]]
    excluded: int
    repeated: int


def expand(overrides: Sequence[Override], keys: SweepKeys, parser: OverridesParser, cwd: Path) -> Expansion:
    """The runs of a sweep over ``overrides``.

    :param overrides: of the command line and of ``hydra.sweeper.params``
    :param cwd: what a relative path of a file starts from
    :raises UsageError: the keys do not go together, or no run is left
    :raises hydra.errors.HydraException: Hydra cannot read an override
    """
    typed = axes_of(overrides, parser)
    grids = [_grid(grid, parser) for grid in keys.grids]
    table = _table(keys.runs, parser, cwd)
    _check_keys_apart(typed, grids, table)
    _check_zip(keys.zip, table)
    space = Space(products=tuple(_product(typed, grid, table, keys.zip) for grid in grids or [{}]))
    _check_names(space, keys)
    runs, excluded, repeated = _chosen(space, keys)
    drawn = len(runs) + excluded + repeated
    if keys.sample is not None and len(runs) < min(keys.sample, space.size) and space.size > ENUMERABLE:
        raise UsageError(
            f"{drawn} random combinations have {len(runs)} of the {counted(keys.sample, 'run')} of"
            " hydra.sweeper.sample: exclude less, or draw fewer"
        )
    if not runs:
        raise UsageError(f"hydra.sweeper.exclude leaves none of the {excluded} runs: exclude less")
    return Expansion(runs=runs, excluded=excluded, repeated=repeated)


def _table(path: str | None, parser: OverridesParser, cwd: Path) -> Axis:
    if path is None:
        return ()
    if "\0" in path:
        raise UsageError("hydra.sweeper.runs has a NUL character, which no path has")
    return tuple(rows(cwd / os.path.expanduser(path), parser))  # noqa: PTH111 - a Path refuses an unknown user


def _grid(grid: Mapping[str, Any], parser: OverridesParser) -> dict[str, Axis]:
    try:
        return axes_of([parsed(text, parser) for text in texts_of(grid)], parser)
    except (UsageError, HydraException, ValueError, RecursionError) as error:  # of what no text stands for, too
        raise UsageError(f"hydra.sweeper.grids: {error}") from error


def _check_keys_apart(typed: Mapping[str, Axis], grids: Sequence[Mapping[str, Axis]], table: Axis) -> None:
    in_grids = set(map(name_of, chain.from_iterable(grids)))
    in_table = _names(table)
    for there, names in (("grids", in_grids), ("runs", in_table)):
        if both := sorted(names & set(map(name_of, typed))):
            raise UsageError(
                f"hydra.sweeper.{there} sets {both[0]}, which the command line or hydra.sweeper.params sets, too:"
                " leave it out in one of the two"
            )
    if both := sorted(in_grids & in_table):
        raise UsageError(
            f"both hydra.sweeper.grids and hydra.sweeper.runs set {both[0]}: leave it out in one of the two"
        )


def _check_zip(groups: Iterable[Sequence[str]], table: Axis) -> None:
    in_table = _names(table)
    seen: set[str] = set()
    for name in chain.from_iterable(groups):
        if name in seen:
            raise UsageError(f"hydra.sweeper.zip names {name} twice: a key can be in one list, once")
        if name in in_table:
            raise UsageError(
                f"hydra.sweeper.zip names {name}, which hydra.sweeper.runs sets: make what belongs together columns"
                " of the file"
            )
        seen.add(name)


def _names(axis: Axis) -> set[str]:
    return {one.name for row in axis for one in row}


def _product(
    typed: Mapping[str, Axis], grid: Mapping[str, Axis], table: Axis, groups: Iterable[Sequence[str]]
) -> Product:
    """What is typed, for each line of the file and each combination of the grid."""
    axes = {**grid, **typed}
    for group in groups:
        keys = {name_of(key): key for key in axes}
        named = {keys[name]: axes[keys[name]] for name in group if name in keys}
        if named:
            first, *rest = named
            axes[first] = _zipped(named)
            axes = {key: axis for key, axis in axes.items() if key not in rest}
    return Product(axes=((table,) if table else ()) + tuple(axes.values()))


def _zipped(axes: Mapping[str, Axis]) -> Axis:
    if len({len(axis) for axis in axes.values()}) > 1:
        counts = ", ".join(f"{name_of(key)} has {len(axis)}" for key, axis in axes.items())
        raise UsageError(f"hydra.sweeper.zip takes values together, first with first, but {counts}")
    return tuple(tuple(chain.from_iterable(together)) for together in zip(*axes.values(), strict=True))


def _check_names(space: Space, keys: SweepKeys) -> None:
    """Refuse a name in ``zip`` or ``exclude`` that no run sets, and a value of another type than the runs' own."""
    known: dict[str, list[Any]] = {}
    for one in (one for product in space.products for axis in product.axes for row in axis for one in row):
        known.setdefault(one.name, []).append(one.value)
    conditions = list(chain.from_iterable(keys.exclude))
    named = [("zip", name) for name in chain.from_iterable(keys.zip)]
    named += [("exclude", condition.key) for condition in conditions]
    for key, name in named:
        if name not in known:
            sets = ", ".join(known) or "no key"
            raise UsageError(f"hydra.sweeper.{key} names {name}, which this sweep does not set; it sets {sets}")
    for condition in conditions:
        try:
            check_type(condition, known[condition.key])
        except UsageError as error:
            raise UsageError(f"hydra.sweeper.exclude: {error}") from error


def _chosen(space: Space, keys: SweepKeys) -> tuple[list[list[str]], int, int]:
    """The runs, and how many were excluded and repeated."""
    chosen: dict[int, list[str]] = {}
    seen: set[frozenset[str]] = set()
    excluded = repeated = 0
    for index in _indexes(space, keys):
        run = space.at(index)
        identity = frozenset([one.identity for one in run])
        if _is_excluded(run, keys.exclude):
            excluded += 1
        elif identity in seen:
            repeated += 1
        else:
            seen.add(identity)
            chosen[index] = [one.text for one in run]
            if len(chosen) == keys.sample:
                break
    return [chosen[index] for index in sorted(chosen)], excluded, repeated


def _indexes(space: Space, keys: SweepKeys) -> Iterable[int]:
    wanted = space.size if keys.sample is None else min(keys.sample, space.size)
    if wanted > ENUMERABLE:
        raise UsageError(
            f"this sweep has {wanted} runs, but can have {ENUMERABLE}: give fewer values, or draw some with"
            " hydra.sweeper.sample"
        )
    if keys.sample is None:
        return range(space.size)
    return in_random_order(space.size, keys.sample_seed, keys.sample)


def _is_excluded(run: Sequence[Choice], exclude: Sequence[Sequence[Condition]]) -> bool:
    if not exclude:
        return False
    values = {one.name: one.value for one in run}
    return any(
        all(one.key in values and one.is_met_by(values[one.key]) for one in conditions) for conditions in exclude
    )
