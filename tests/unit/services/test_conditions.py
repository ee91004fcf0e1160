"""Conditions on runs: numbers are compared as numbers, and what a run lacks it does not fulfil."""

from __future__ import annotations

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


def test_before_a_run_has_a_result_any_part_of_one_may_be_meant():
    check_keys([parse_condition("result.loss<1")], [run({"lr": 0.1})])
    check_keys([parse_condition("foo=1")], [])
