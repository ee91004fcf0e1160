"""Sentences agree with the number that they tell."""

from __future__ import annotations

import pytest

from hpcorch.model.states import RunState
from hpcorch.model.value_text import agreeing, counted
from hpcorch.services.actions import retry, targets
from hpcorch.services.rerun import plan
from tests.support import entities


@pytest.mark.parametrize(("count", "told"), [(0, "0 runs are"), (1, "1 run is"), (2, "2 runs are")])
def test_one_is_a_run_and_all_other_numbers_are_runs(count, told):
    assert f"{counted(count, 'run')} {agreeing(count, 'is', 'are')}" == told


@pytest.mark.parametrize("state", RunState)
def test_why_runs_are_left_alone_is_as_true_of_several(state):
    run = entities.run(0, state)
    told = (targets._why_not(run), retry._why_not(run, is_refused=True), plan._why_not(run))
    assert not any(why.startswith(("it ", "they ")) for why in told)
