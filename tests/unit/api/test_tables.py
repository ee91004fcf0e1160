"""Tables of runs: columns of equal length, each of one type, so that every kind of frame takes them."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcorch.ledger import QueryResult
from hpcorch.model.entities import Run
from hpcorch.services.reports.tables import answer_columns, run_columns
from tests.support import entities

TYPES = (bool, int, float, str, datetime)

names = st.sampled_from(["lr", "model.lr", "seed", "run", "name", "result", "result.loss", "params.seed", "node"])
numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
values = st.recursive(
    st.one_of(st.none(), numbers, st.text(max_size=3), st.sampled_from(["nan", math.nan, math.inf])),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["loss", "acc"]), inner, max_size=2)
    ),
    max_leaves=4,
)
entries = st.tuples(st.integers(0, 9), st.one_of(st.floats(-1, 1), st.just("nan"))).map(list)
metrics = st.dictionaries(
    st.sampled_from(["loss", "val/acc"]), st.fixed_dictionaries({"last": entries}), max_size=2
)


def run(index: int = 0, params: dict[str, Any] | None = None, result: Any = None, **others: Any) -> Run:
    return entities.run(index, params=params or {}, result=result, **others)


def columns(*runs: Run, **settings: list[Any]) -> dict[str, list[Any]]:
    return run_columns(runs, {"s": "train"}, settings)


def types_of(column: list[Any]) -> set[type]:
    return {type(value) for value in column if value is not None}


@given(st.lists(st.builds(run, params=st.dictionaries(names, values, max_size=3), result=values, metrics=metrics)))
def test_every_column_has_a_row_a_run_and_one_type(runs):
    for name, column in columns(*runs).items():
        assert len(column) == len(runs), name
        assert len(types_of(column)) <= 1, name
        assert types_of(column) <= set(TYPES), name


@given(st.lists(st.builds(run, params=st.dictionaries(names, st.integers(6, 8), max_size=3)), min_size=1))
def test_no_parameter_is_lost_among_columns_of_the_same_name(runs):
    found = columns(*runs)
    for key in {key for run in runs for key in run.params}:
        wanted = [run.params.get(key) for run in runs]
        called = {key, f"{key}_2", f"params.{key}", f"params.{key}_2"}
        named_so = [column for name, column in found.items() if name in called]
        assert any(
            all(mine in (None, told) for mine, told in zip(wanted, column, strict=True)) for column in named_so
        )


def test_parameters_results_and_metrics_have_columns_of_their_own():
    metric = {"loss": {"last": [9, 0.2], "min": [8, 0.1], "max": [0, 3.0]}}
    found = columns(run(0, {"model.lr": 1}, {"loss": 0.5}, metrics=metric), run(1, {"model.lr": 0.1}, {"acc": 1}))
    assert found["model.lr"] == [1.0, 0.1]
    assert found["result.loss"] == [0.5, None]
    assert found["result.acc"] == [None, 1]
    assert found["metrics.loss.last"] == [0.2, None]
    assert found["metrics.loss.min"] == [0.1, None]
    assert found["metrics.loss.max"] == [3.0, None]
    assert found["name"] == ["train", "train"]
    assert found["state"] == ["COMPLETED", "COMPLETED"]


def test_a_seed_that_was_swept_is_there_once():
    assert "params.seed" not in columns(run(0, {"seed": 7}), run(1))
    assert columns(run(0, {"seed": 8}))["params.seed"] == [8]


def test_a_parameter_named_like_a_column_is_told_apart():
    found = columns(run(0, {"node": "leaf"}, node="n1"))
    assert found["node"] == ["n1"]
    assert found["params.node"] == ["leaf"]


@pytest.mark.parametrize(
    ("given_values", "column"),
    [
        ([1, None], [1, None]),
        ([1, 0.5], [1.0, 0.5]),
        ([True, 1], ["true", "1"]),
        ([1, "adam"], ["1", "adam"]),
        ([[1, 2], [3]], ["[1, 2]", "[3]"]),
        ([1, 0.5, math.inf], [1.0, 0.5, math.inf]),
        ([0.5, "inf"], ["0.5", "inf"]),
        ([math.inf, "linear"], ["inf", "linear"]),
        ([[1, math.nan], {"a": None}], ["[1, nan]", '{"a": null}']),
        ([2**70, 1], [str(2**70), "1"]),
        ([10**5000, 1], [f"1{5000 * '0'}", "1"]),
    ],
)
def test_values_of_several_types_become_numbers_or_text(given_values, column):
    found = columns(*(run(index, {"x": value}) for index, value in enumerate(given_values)))["x"]
    assert found == column
    assert types_of(found) == types_of(column)


def test_times_are_aware_and_durations_are_seconds():
    found = columns(run(started_at="2026-01-01T12:00:00.000000Z", ended_at="2026-01-01T12:00:01.500000Z"))
    assert found["started_at"][0].isoformat() == "2026-01-01T12:00:00+00:00"
    assert found["duration_s"] == [1.5]


def test_a_run_that_is_not_over_has_no_duration():
    assert columns(run(started_at="2026-01-01T12:00:00.000000Z"))["duration_s"] == [None]


def test_settings_stand_for_the_parameter():
    found = columns(run(0, {"lr": 0.2}), run(1), lr=[0.2, 0.1])
    assert found["lr"] == [0.2, 0.1]


def test_an_answer_without_rows_has_its_columns():
    assert answer_columns(QueryResult(columns=("a", "b"), rows=[])) == {"a": [], "b": []}


def test_columns_of_an_answer_that_have_the_same_name_are_numbered():
    answer = QueryResult(columns=("a", "a"), rows=[(1, b"\x01"), (2, b"\x02")])
    assert answer_columns(answer) == {"a": [1, 2], "a_2": [b"\x01", b"\x02"]}
