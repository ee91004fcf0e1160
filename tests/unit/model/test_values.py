"""Values are the same only if their types are, and lead back from how they are recorded to what they were."""

from __future__ import annotations

import itertools
import json
import math

import pytest

from hpcorch.model.values import digits, from_plain, integer, same, to_plain

DIFFERENT = [
    *(None, True, False, 0, 1, 0.0, -0.0, 1.0, math.nan, math.inf, -math.inf, 10**400, 10**400 + 1, 1e16, 10**16),
    *("", "1", "true", "null", "nan", b"", b"nan"),
    *([], [1], [1.0], [True], [[1]], [1, 1], {}, {"a": 1}, {"a": 1.0}, {"a": None}, {"b": 1}, {"a": {"a": 0.0}}),
    *({1: "x"}, {1.0: "x"}, {True: "x"}, {"1": "x"}, {"$float": "nan"}, {"$$float": "nan"}, {"$int": "1"}),
]


def test_each_of_these_is_the_same_as_itself_and_as_no_other():
    for (number, one), (position, other) in itertools.product(enumerate(DIFFERENT), repeat=2):
        assert same(one, other) is (number == position), (one, other)


def test_each_of_these_leads_back_from_json_with_its_type():
    for value in DIFFERENT:
        recorded = json.dumps(to_plain(value), allow_nan=False)
        assert same(from_plain(json.loads(recorded)), value), value


def test_the_order_of_keys_does_not_matter():
    assert same({"a": 1, "b": 2}, {"b": 2, "a": 1})


def test_integers_beyond_pythons_limit_of_digits_are_written_and_read():
    for number in (10**5000 + 7, -(10**5000)):
        assert integer(digits(number)) == number
        assert from_plain(to_plain({number: number})) == {number: number}


@pytest.mark.parametrize("text", ["x", "1.0", "1" * 5000 + "x"])
def test_what_is_no_integer_is_not_read_as_one(text):
    with pytest.raises(ValueError, match=r"invalid literal|Exceeds the limit"):
        integer(text)


@pytest.mark.parametrize(
    "recorded", [{"$float": "x"}, {"$int": []}, {"$bytes": "?"}, {"$object": "a.B"}, {"$bool:2": 1}]
)
def test_what_leads_to_no_value_stays_as_it_is_recorded(recorded):
    assert from_plain(recorded) == recorded
