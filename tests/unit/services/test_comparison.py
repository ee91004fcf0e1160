"""What two executions of a run are compared in: outcomes part by part, and the hardware that they ran on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from hpcorch.ledger import Ledger
from hpcorch.services.audit.evidence import Evidence, find_place, gather
from hpcorch.services.reproduction.comparison import Sameness, compare_conditions, compare_outcomes
from tests.support.proven_sweeps import ENVIRONMENT, proven_sweep
from tests.support.sweeps import SweepOnDisk

OTHER = "20261123-000000-zzzz"


def evidence_of(made: SweepOnDisk) -> Evidence:
    with Ledger.open(made.ledger_path) as ledger:
        sweep = ledger.sweep(made.id).sweep
        return gather(ledger, sweep, ledger.runs(made.id)[:1], find_place(ledger, sweep))


@pytest.fixture
def evidence(tmp_path) -> Evidence:
    return evidence_of(proven_sweep(tmp_path))


def results(evidence: Evidence, before: Any, after: Any) -> list[tuple[str, Sameness]]:
    sides = [replace(evidence, runs=[replace(evidence.runs[0], result=value)]) for value in (before, after)]
    found = compare_outcomes(*sides, tolerance=1e-6)
    return [(one.what, one.sameness) for one in found if one.what.startswith("result")]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (0.5, 0.5, [("result", Sameness.IDENTICAL)]),
        (0.5, 0.5000001, [("result", Sameness.WITHIN_TOLERANCE)]),
        (1, True, [("result", Sameness.DIFFERENT)]),
        (None, None, [("result", Sameness.IDENTICAL)]),
        ({"a": 1, "b": [1.0, 2.0]}, {"a": 1, "b": [1.0, 2.0000001]},
         [("result.a", Sameness.IDENTICAL), ("result.b", Sameness.WITHIN_TOLERANCE)]),
        ({"a": 1}, None, [("result.a", Sameness.DIFFERENT)]),
        ({"a": None}, {}, [("result.a", Sameness.DIFFERENT)]),
        (math.nan, math.nan, [("result", Sameness.IDENTICAL)]),
        (math.nan, 1.0, [("result", Sameness.DIFFERENT)]),
        (0.0, -0.0, [("result", Sameness.WITHIN_TOLERANCE)]),
        ([1], [1.0], [("result", Sameness.WITHIN_TOLERANCE)]),
        ([1], [True], [("result", Sameness.DIFFERENT)]),
        (10**400, 10**400, [("result", Sameness.IDENTICAL)]),
        (10**400, 10**400 + 1, [("result", Sameness.WITHIN_TOLERANCE)]),
        (10**400, 2 * 10**400, [("result", Sameness.DIFFERENT)]),
        (10**400, math.inf, [("result", Sameness.DIFFERENT)]),
    ],
)  # fmt: skip
def test_results_are_compared_part_by_part(evidence, before, after, expected):
    assert results(evidence, before, after) == expected


def test_another_processor_is_named_with_what_it_was(evidence, tmp_path):
    other = proven_sweep(tmp_path, sweep=OTHER, environment={**ENVIRONMENT, "platform": {"cpu": "two"}})
    assert compare_conditions(evidence, evidence) == []
    found = compare_conditions(evidence, evidence_of(other))
    assert [(one.what, one.before, one.after) for one in found] == [("platform cpu", "one", "two")]
