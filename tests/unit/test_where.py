"""Conditions on runs: numbers are compared as numbers, and what a run lacks it does not fulfil."""

from __future__ import annotations

from typing import Any

import pytest

from hpcorch.errors import UsageError
from hpcorch.model.entities import Run
from hpcorch.model.states import RunState
from hpcorch.services.where import parse_condition


def run(params: dict[str, Any], result: Any = None) -> Run:
    return Run(
        sweep="s",
        run=3,
        batch=0,
        base=0,
        state=RunState.COMPLETED,
        overrides=(),
        params=params,
        changes={},
        config_digest="",
        seed=7,
        seed_source="config",
        directory="",
        result=result,
    )


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


@pytest.mark.parametrize("text", ["", "lr", "=1", ">", "lr ~ 1"])
def test_what_is_no_condition_is_refused_in_a_sentence(text):
    with pytest.raises(UsageError, match="is no condition"):
        parse_condition(text)
