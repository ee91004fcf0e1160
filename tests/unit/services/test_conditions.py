"""Conditions on runs: parameters are equal by value and type, and what a run lacks it does not fulfil."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hpcorch.errors import UsageError
from hpcorch.model.entities import Run
from hpcorch.services.selection.conditions import check_keys, parse_condition
from tests.support import entities


def run(params: dict[str, Any], result: Any = None) -> Run:
    return entities.run(3, params=params, result=result)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("model.lr>0.05", True),
        ("model.lr > 0.1", False),
        ("model.lr>=1e-1", True),
        ("model.lr=0.10", True),
        ("model=mlp", True),
        ("model==mlp", True),
        ("model!=mlp", False),
        ("model<z", False),
        ("flag=true", True),
        ("missing!=1", False),
        ("result.accuracy>=0.9", True),
        ("result.loss.last<1", True),
        ("result>0", False),
        ("seed=7", True),
        ("state=COMPLETED", True),
        ("note=a=b", True),
    ],
)
def test_a_condition_holds_of_a_run_that_has_such_a_value(text, holds):
    params = {"model.lr": 0.1, "model": "mlp", "flag": True, "note": "a=b"}
    found = run(params, {"accuracy": 0.95, "loss": {"last": 0.1}})
    assert parse_condition(text).holds(found) is holds


TYPED = {"1": 1, "1.0": 1.0, "true": True, "null": None, "0": 0, "0.0": 0.0, "-0.0": -0.0, "nan": math.nan,
         "inf": math.inf,
         "'1'": "1", "'true'": "true", "mlp": "mlp", "[1, 2]": [1, 2], "[1.0, 2]": [1.0, 2], '{"a": 1}': {"a": 1},
         "1" + "0" * 400: 10**400, "1" + "0" * 5000: 10**5000}  # fmt: skip


def test_a_parameter_equals_the_value_of_its_own_type_and_no_other():
    for written in TYPED:
        equal = [text for text, value in TYPED.items() if parse_condition(f"x={written}").holds(run({"x": value}))]
        other = [text for text, value in TYPED.items() if parse_condition(f"x!={written}").holds(run({"x": value}))]
        assert equal == [written]
        assert other == [text for text in TYPED if text != written]


@pytest.mark.parametrize("text", ["result=1", "result=1.0", "result!=2", "result>=1"])
def test_results_that_are_numbers_are_equal_as_numbers(text):
    assert parse_condition(text).holds(run({}, 1))
    assert parse_condition(text).holds(run({}, 1.0))


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("x>5", math.inf, True),
        ("x<5", -math.inf, True),
        ("x>5", math.nan, False),
        ("x<=5", math.nan, False),
        ("x<inf", 10**400, True),
        ("x>1e300", 10**400, True),
        (f"x>{10**400}", 10**400 + 1, True),
        (f"x>{10**400}", 10**400, False),
        pytest.param(f"x>1{'0' * 5000}", 10**5000 + 1, True, id="long"),
        (f"x<{2**53 + 1}", 2**53, True),
        ("x>0", True, False),
    ],
)
def test_infinities_and_integers_of_any_size_are_compared_exactly(text, value, holds):
    assert parse_condition(text).holds(run({"x": value})) is holds
    assert parse_condition(text.replace("x", "result")).holds(run({}, value)) is holds


def test_nan_as_a_result_is_found():
    assert parse_condition("result=nan").holds(run({}, math.nan))
    assert not parse_condition("result!=nan").holds(run({}, math.nan))
    assert not parse_condition("result=nan").holds(run({}, 1.0))


def test_a_plain_result_is_compared_itself():
    assert parse_condition("result>0.5").holds(run({}, 0.75))
    assert not parse_condition("result>0.5").holds(run({}))


@pytest.mark.parametrize("text", ["", "lr", "=1", ">", "lr ~ 1", "lr>", "lr = ", "seed=>2", "seed =< 2", "lr===1"])
def test_what_is_no_condition_is_refused_in_a_sentence(text):
    with pytest.raises(UsageError, match="is not a condition"):
        parse_condition(text)


@pytest.mark.parametrize("text", ["lr>1", "seed=7", "state=FAILED", "result.loss<1", "sometimes=1"])
def test_a_key_that_some_run_has_may_be_asked_for(text):
    check_keys([parse_condition(text)], [run({"lr": 0.1}), run({"sometimes": None}, {"loss": 1})])


@pytest.mark.parametrize("key", ["foo", "result", "result.accuracy"])
def test_a_key_that_no_run_has_is_refused_with_those_that_there_are(key):
    with pytest.raises(UsageError, match=f"'{key}', .* keys are lr, run, seed, state, result.loss$"):
        check_keys([parse_condition(f"{key}=1")], [run({"lr": 0.1}), run({"lr": 0.2}, {"loss": 1})])


@pytest.mark.parametrize(
    ("text", "value", "meant"), [("x=1", 1.0, "x=1.0"), ("x==0", -0.0, "x=-0.0"), ("x=1", "1", 'x="1"')]
)
def test_a_condition_that_every_run_misses_by_its_type_alone_names_the_value_that_may_be_meant(text, value, meant):
    with pytest.raises(UsageError, match=f"of another type, which some have: write '{meant}'$"):
        check_keys([parse_condition(text)], [run({"x": value}), run({"x": 5})])
    check_keys([parse_condition(text)], [run({"x": value}), run({"x": int(parse_condition(text).value)})])
    check_keys([parse_condition(text.replace("=", "!=", 1).replace("==", "="))], [run({"x": value})])
    assert parse_condition(meant).holds(run({"x": value}))


def test_before_a_run_has_a_result_any_part_of_one_may_be_meant():
    check_keys([parse_condition("result.loss<1")], [run({"lr": 0.1})])
    check_keys([parse_condition("foo=1")], [])
