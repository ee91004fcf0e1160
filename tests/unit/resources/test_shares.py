"""How capacity is divided among arrays."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hpcorch.resources.shares import Claim, divide, free_of, lowered, raised, too_large

NAMES = ("disk", "db")


def claim(array, want, *, sweep=None, limit=0, running=0, **units):
    return Claim(
        array=array, sweep=sweep or array, units=units or {"disk": 1}, want=want, limit=limit, running=running
    )


capacities = st.fixed_dictionaries({name: st.integers(0, 12) for name in NAMES})


@st.composite
def claims(draw):
    units = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 5), min_size=1)
    return [
        Claim(
            array=str(number),
            sweep=draw(st.sampled_from("abc")),
            units=draw(units),
            want=draw(st.integers(0, 15)),
            limit=draw(st.integers(0, 6)),
            running=draw(st.integers(0, 6)),
            completing=draw(st.integers(0, 1)),
            uncertain=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 6)))
    ]


def settled(found, given_):
    """The claims once they have what they were given, and it runs."""
    return [replace(one, limit=given_[one.array], running=given_[one.array], uncertain=False) for one in found]


@given(claims(), capacities)
def test_what_is_given_is_there_and_wanted(found, there):
    given_ = divide(found, there)
    assert all(0 <= given_[one.array] <= one.want for one in found)
    assert all(left >= 0 for left in free_of(settled(found, given_), there).values())


@given(claims(), capacities)
def test_nothing_that_somebody_could_use_is_left(found, there):
    given_ = divide(found, there)
    free = free_of(settled(found, given_), there)
    for one in found:
        fits = all(free[name] >= count for name, count in one.units.items())
        assert given_[one.array] == one.want or not fits


@given(claims(), capacities)
def test_what_stands_as_it_should_is_left_alone(found, there):
    standing = settled(found, divide(found, there))
    assert lowered(standing, there) == {}
    assert raised(standing, there) == {}


@given(claims(), capacities)
def test_lowering_and_raising_never_add_to_an_overcommitment(found, there):
    low = lowered(found, there)
    after = [replace(one, limit=low.get(one.array, one.limit)) for one in found]
    assert all(new < one.limit for one in found if (new := low.get(one.array)) is not None)
    high = raised(after, there)
    last = [replace(one, limit=high.get(one.array, one.limit)) for one in after]
    assert all(limit >= one.limit for one in after if (limit := high.get(one.array)) is not None)
    before, now = free_of(after, there), free_of(last, there)
    assert all(now[name] == before[name] or now[name] >= 0 for name in now)


def test_sweeps_share_alike_and_the_oldest_has_what_is_left_over():
    assert divide([claim("1", 9), claim("2", 9), claim("3", 9)], {"disk": 5}) == {"1": 2, "2": 2, "3": 1}


def test_a_sweep_gains_nothing_by_being_split_into_arrays():
    found = [claim("1", 9, sweep="a"), claim("2", 9, sweep="a"), claim("3", 9, sweep="b")]
    assert divide(found, {"disk": 6}) == {"1": 3, "2": 0, "3": 3}


def test_a_share_that_nobody_can_use_goes_to_others():
    assert divide([claim("1", 1), claim("2", 9)], {"disk": 5}) == {"1": 1, "2": 4}


def test_where_there_is_less_than_one_for_each_the_oldest_come_first():
    assert divide([claim("1", 9), claim("2", 9), claim("3", 9)], {"disk": 2}) == {"1": 1, "2": 1, "3": 0}


def test_large_elements_get_as_much_of_the_resource_as_small_ones():
    assert divide([claim("1", 99, disk=1), claim("2", 99, disk=4)], {"disk": 8}) == {"1": 4, "2": 1}


def test_a_large_element_that_is_the_oldest_is_not_passed_by_small_ones():
    small = claim("2", 9, limit=5, running=5)
    found = [claim("1", 1, disk=5), small]
    assert lowered(found, {"disk": 5}) == {"2": 0}
    assert raised([found[0], replace(small, limit=0, running=1)], {"disk": 5}) == {}
    assert raised([found[0], replace(small, limit=0, running=0)], {"disk": 5}) == {"1": 1}


def test_a_limit_is_not_lowered_where_nobody_gains():
    assert lowered([claim("1", 2, limit=5, running=2), claim("2", 1, limit=1, running=1)], {"disk": 9}) == {}


def test_less_capacity_takes_what_is_unused_first():
    found = [claim("1", 9, limit=3, running=3), claim("2", 9, limit=2, running=0)]
    assert lowered(found, {"disk": 3}) == {"1": 2, "2": 0}


def test_what_still_cleans_up_is_not_given_to_others():
    ending = replace(claim("1", 0, limit=0), completing=2)
    assert raised([ending, claim("2", 9)], {"disk": 5}) == {"2": 3}


def test_elements_that_can_never_run_are_named():
    assert list(too_large([claim("1", 1, disk=6), claim("2", 1)], {"disk": 5})) == [("1", "disk")]
