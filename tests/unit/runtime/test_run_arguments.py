"""What a task may pass to its run, and what it is told of mistakes."""

from __future__ import annotations

import signal

import numpy as np
import pytest

from hpcorch.errors import UsageError
from hpcorch.runtime.context.signals import SignalOwner, Stopped
from hpcorch.runtime.run.arguments import check_schedule, step_number
from hpcorch.runtime.run.metrics import Metrics
from hpcorch.runtime.run.run import Run


@pytest.mark.parametrize("step", [0, 7, np.int64(7), np.uint8(3), 2**63 - 1])
def test_whole_numbers_of_any_library_are_steps(step):
    assert step_number(step) == int(step)


@pytest.mark.parametrize("step", [-1, 1.0, float("nan"), "3", None, [1], 10**30])
def test_what_is_no_step_is_refused_in_a_sentence(step):
    with pytest.raises(UsageError, match="a step must be a whole number"):
        step_number(step)


@pytest.mark.parametrize(
    "wrong",
    [
        {"every_steps": 0},
        {"every_steps": -1},
        {"every_steps": 1.5},
        {"every_minutes": -1},
        {"every_minutes": float("nan")},
        {"every_minutes": "5"},
        {"keep": 0},
        {"keep": "2"},
        {"keep": True},
    ],
)
def test_a_schedule_that_cannot_be_meant_is_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        check_schedule(**{"every_steps": None, "every_minutes": None, "keep": 2, **wrong})


@pytest.mark.parametrize("value", ["1.5", None, [1, 2], object()])
def test_a_metric_that_is_no_number_is_refused_where_it_is_logged(value):
    metrics = Metrics()
    with pytest.raises(UsageError, match="a metric must be one number"):
        metrics.add(1, {"loss": value})
    assert list(metrics.take()) == []


def test_an_integer_beyond_all_floats_is_an_infinite_metric():
    metrics = Metrics()
    metrics.add(1, {"up": 10**400, "down": -(10**5000)})
    assert [fact.entries for fact in metrics.take()] == [[[1, {"up": "inf", "down": "-inf"}]]]


def test_variables_that_somebody_set_by_hand_do_no_harm_outside_a_job():
    assert Run({"HPCORCH_SEED": "abc", "HPCORCH_RUN_DIR": "/nowhere"}).seed == 0


def test_a_warning_that_came_while_the_run_was_prepared_still_stops_it():
    signals = SignalOwner()
    signals._warn(signal.SIGUSR1, None)
    signals.stop_on_warning()
    with pytest.raises(Stopped, match="SIGUSR1"), signals.stops_raise():
        pytest.fail("the task was called although its time is over")
