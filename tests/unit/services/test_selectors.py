"""How sweeps, runs, states and times are named on the command line."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from hpcorch.errors import UsageError
from hpcorch.model.ids import parse_time
from hpcorch.model.states import RunState
from hpcorch.services.selection.selectors import Selector, parse_selector, parse_since, parse_states

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "sweep", "ranges"),
    [
        ("last", "last", None),
        ("20261123-050938-q46x", "20261123-050938-q46x", None),
        ("2026", "2026", None),
        ("last/0", "last", (range(1),)),
        ("2026/3-5,9", "2026", (range(3, 6), range(9, 10))),
    ],
)
def test_a_selector_names_a_sweep_and_perhaps_runs(text, sweep, ranges):
    assert parse_selector(text) == Selector(sweep=sweep, ranges=ranges)


def test_an_element_of_an_array_is_selected_by_its_job_id():
    assert parse_selector("job=369") == Selector(sweep="job=369")
    assert parse_selector("job=369/3") == Selector(sweep="job=369", ranges=(range(3, 4),))
    assert parse_selector("job=369_3", "F") == Selector(
        sweep="job=369", element=("369", 3), states=frozenset({RunState.FAILED})
    )


@pytest.mark.parametrize("text", ["job=369_[0-3]", "job=369_[0,2]%1", "job=369_", "job=369_0-3", "job=369_3/4"])
def test_several_elements_of_an_array_are_refused_with_what_selects_them(text):
    with pytest.raises(UsageError, match=r"job=369_3 selects one, job=369 the sweep of all, and job=369/3-5,9"):
        parse_selector(text)


@pytest.mark.parametrize(
    "text",
    ["", "/3", "last/", "last/x", "last/3-", "last/-3", "last/3,,4", "last/1/2", "a b", "last/3\n", "last/٣"],
)
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match=r"last/3-5,9"):
        parse_selector(text)


def test_a_range_from_high_to_low_is_refused_with_its_cure():
    with pytest.raises(UsageError, match="2-5"):
        parse_selector("last/5-2")


def test_a_range_of_a_billion_is_not_written_out():
    assert parse_selector("last/0-999999999").ranges == (range(1_000_000_000),)


@pytest.mark.parametrize(
    ("text", "states"),
    [
        ("F", {RunState.FAILED}),
        ("f,TO,oom", {RunState.FAILED, RunState.TIMEOUT, RunState.OUT_OF_MEMORY}),
        ("out_of_memory, r", {RunState.OUT_OF_MEMORY, RunState.RUNNING}),
    ],
)
def test_states_are_named_short_or_in_full_in_any_case(text, states):
    assert parse_states(text) == states
    assert parse_selector("last", text).states == states


@pytest.mark.parametrize("text", ["", "X", "F,,TO"])
def test_an_unknown_state_is_refused_with_the_known_ones(text):
    with pytest.raises(UsageError, match=r"FAILED \(F\)"):
        parse_states(text)


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("2d", timedelta(days=2)),
        ("1w", timedelta(weeks=1)),
    ],
)
def test_since_takes_an_age(text, age):
    assert parse_time(parse_since(text, NOW)) == NOW - age


@pytest.mark.parametrize("text", ["2026-11-23T10:30:00Z", "2026-11-23T12:30+02:00"])
def test_since_takes_a_time_with_a_zone(text):
    assert parse_time(parse_since(text, NOW)) == datetime(2026, 11, 23, 10, 30, tzinfo=timezone.utc)


def test_since_takes_a_date_on_this_machines_clock():
    assert parse_time(parse_since("2026-11-20", NOW)) == datetime(2026, 11, 20).astimezone()


@pytest.mark.parametrize("text", ["", "yesterday", "2 d", "999999w", "2026-13-01", "-2d"])
def test_since_refuses_what_is_no_time_with_an_example(text):
    with pytest.raises(UsageError, match="2026-11-23"):
        parse_since(text, NOW)
