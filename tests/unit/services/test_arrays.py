"""Cutting a launch into arrays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.services.submission.arrays import ArrayPlan, SubmitRoom, portions

BIG = SubmitRoom(array_tasks=1001)
RUNS = st.lists(st.integers(0, 2), max_size=400).map(
    lambda kinds: {number: LaunchKeys(nodes=1 + kind) for number, kind in enumerate(kinds)}
)
ROOMS = st.builds(
    SubmitRoom,
    array_tasks=st.integers(1, 120),
    max_submit=st.none() | st.integers(1, 200),
    submitted=st.integers(0, 200),
    headroom=st.none() | st.integers(0, 50),
)


def runs(count: int) -> dict[int, LaunchKeys]:
    return dict.fromkeys(range(count), LaunchKeys())


def test_a_small_sweep_is_one_array():
    assert portions(runs(3), BIG, alone=True) == ([ArrayPlan(runs=(0, 1, 2), keys=LaunchKeys())], 0)


def test_an_array_is_not_larger_than_the_cluster_allows():
    chosen, waiting = portions(runs(2500), BIG, alone=True)
    assert [len(one.runs) for one in chosen] == [1001, 1001, 498]
    assert waiting == 0


@pytest.mark.parametrize("runs_per_task", [10, "auto"])
def test_a_packed_array_that_is_cut_has_as_many_runs_for_each_task_as_the_whole(runs_per_task):
    packed = dict.fromkeys(range(1000), LaunchKeys(runs_per_task=runs_per_task))
    (whole,), waiting = portions(packed, BIG, alone=True)
    assert (len(whole.runs), waiting) == (1000, 0)
    room = SubmitRoom(array_tasks=1001, max_submit=60, submitted=35, headroom=0)
    (cut,), waiting = portions(packed, room, alone=True)
    assert cut.elements == 21
    assert len(cut.runs) == 1000 - waiting == 21 * -(-1000 // whole.elements)
    full = SubmitRoom(array_tasks=1001, max_submit=60, submitted=55, headroom=0)
    assert portions(packed, full, alone=False) == ([], 1000)


def test_runs_that_ask_for_the_same_share_an_array():
    one, two = (LaunchKeys.parse({"licenses": {"matlab": count}}) for count in (1, 2))
    chosen, _ = portions({0: one, 1: two, 2: one}, BIG, alone=True)
    assert chosen == [ArrayPlan(runs=(0, 2), keys=one), ArrayPlan(runs=(1,), keys=two)]


def test_a_limit_leaves_room_for_other_jobs_and_for_a_third_array():
    room = SubmitRoom(array_tasks=1001, max_submit=600)
    chosen, waiting = portions(runs(2500), room, alone=True)
    assert [len(one.runs) for one in chosen] == [283, 283]
    assert waiting == 2500 - 566
    later = SubmitRoom(array_tasks=1001, max_submit=600, submitted=286)
    assert [len(one.runs) for one in portions(runs(1932), later, alone=False)[0]] == [280]


def test_the_profile_says_how_much_room_is_left_to_other_jobs():
    room = SubmitRoom(array_tasks=1001, max_submit=600, headroom=300)
    assert room.usable == 296


def test_something_is_tried_where_nothing_is_free_and_nothing_else_brings_somebody_back():
    room = SubmitRoom(array_tasks=1001, max_submit=4, submitted=9)
    assert portions(runs(3), room, alone=False) == ([], 3)
    assert portions(runs(3), room, alone=True) == ([ArrayPlan(runs=(0,), keys=LaunchKeys())], 2)


@pytest.mark.parametrize("limit", range(1, 40))
def test_a_limit_never_makes_more_arrays_than_there_is_room_for_keepers(limit):
    chosen, _ = portions(runs(100), SubmitRoom(array_tasks=1001, max_submit=limit), alone=True)
    assert len(chosen) <= 2


def test_where_arrays_are_small_the_limit_has_room_for_the_keeper_of_each():
    room = SubmitRoom(array_tasks=10, max_submit=200)
    chosen, waiting = portions(runs(180), room, alone=True)
    sizes = [len(one.runs) for one in chosen]
    assert (sizes, waiting) == ([10] * 17, 10)
    assert sum(sizes) + len(sizes) + 2 <= 200 - 10, "5 % is for the user's other jobs, 2 for keepers at work"


@pytest.mark.parametrize("sweeps", [1, 3])
@pytest.mark.parametrize("limit", [3, 4, 6])
def test_the_smallest_limits_let_every_run_through(limit, sweeps):
    # Slurm has, of each sweep: runs at work, and keepers at work, which leave when they have submitted something.
    left, alive, keepers = [8] * sweeps, [0] * sweeps, [0] * sweeps

    def taken() -> int:
        return sum(alive) + sum(keepers)

    for _ in range(200):
        for one in range(sweeps):
            room = SubmitRoom(array_tasks=1001, max_submit=limit, submitted=taken() - keepers[one])
            for portion in portions(runs(left[one]), room, alone=not alive[one])[0]:
                if taken() + len(portion.runs) <= limit:
                    alive[one] += len(portion.runs)
                    left[one] -= len(portion.runs)
            if alive[one]:
                keepers[one] = int(keepers[one] or taken() < limit)
        assert taken() <= limit
        if not any(left):
            return
        assert any(alive), "keepers alone have all the room"
        alive[next(number for number, count in enumerate(alive) if count)] = 0
    raise AssertionError(left)


def test_crumbs_are_not_submitted_while_something_else_is_with_slurm():
    room = SubmitRoom(array_tasks=1001, max_submit=600, submitted=560)
    assert portions(runs(1000), room, alone=False) == ([], 1000)
    chosen, _ = portions(runs(1000), room, alone=True)
    assert [len(one.runs) for one in chosen] == [6]


@given(RUNS, ROOMS, st.booleans())
def test_every_run_is_submitted_once_or_waits_and_no_limit_is_passed(some, room, alone):
    chosen, waiting = portions(some, room, alone=alone)
    submitted = [run for one in chosen for run in one.runs]
    assert len(submitted) == len(set(submitted))
    assert waiting == len(some) - len(submitted)
    assert all(0 < len(one.runs) <= room.array_tasks for one in chosen)
    assert all(some[run] == one.keys for one in chosen for run in one.runs)
    if room.free is not None:
        assert len(submitted) + max(0, len(chosen) - 2) <= max(room.free, int(alone))
        if alone and some:
            assert submitted
    else:
        assert waiting == 0
