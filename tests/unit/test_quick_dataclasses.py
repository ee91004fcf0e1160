"""The dataclasses that cost little to define behave as the standard ones do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import field
from typing import Any

import pytest

from hpcorch import quick_dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """Made by the standard decorator."""

    first: int
    second: str = "two"
    third: list[int] = field(default_factory=list)


@quick_dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Quick:
    """The same, made here."""

    first: int
    second: str = "two"
    third: list[int] = field(default_factory=list)


both = pytest.mark.parametrize("cls", [Standard, Quick])


@both
def test_fields_and_defaults_are_those_of_the_class(cls: type[Any]) -> None:
    value = cls(first=1)
    assert (value.first, value.second, value.third) == (1, "two", [])
    assert cls(first=1).third is not value.third
    assert [item.name for item in dataclasses.fields(cls)] == ["first", "second", "third"]
    assert dataclasses.asdict(value) == {"first": 1, "second": "two", "third": []}
    assert repr(value) == f"{cls.__name__}(first=1, second='two', third=[])"


@both
def test_two_are_equal_if_their_fields_are(cls: type[Any]) -> None:
    assert cls(first=1) == cls(first=1, second="two", third=[])
    assert cls(first=1) != cls(first=2)
    assert cls(first=1) != (1, "two", [])
    assert hash(cls(first=1, third=())) == hash(cls(first=1, third=()))


@both
def test_nothing_can_be_assigned_or_deleted(cls: type[Any]) -> None:
    value = cls(first=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.first = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del value.first
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        value.fourth = 4
    assert not hasattr(value, "__dict__")


@both
@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value)), dataclasses.replace],
    ids=["copy", "deepcopy", "pickle", "replace"],
)
def test_copies_are_equal(cls: type[Any], again: Callable[[Any], Any]) -> None:
    value = cls(first=1, third=[3])
    assert again(value) == value
    assert dataclasses.replace(value, first=2) == cls(first=2, third=[3])


@both
@pytest.mark.parametrize("values", [{}, {"second": "two"}, {"first": 1, "fourth": 4}, {"second": 2, "fourth": 4}])
def test_wrong_fields_are_refused(cls: type[Any], values: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        cls(**values)
    with pytest.raises(TypeError):
        cls(1)


def test_what_is_wrong_with_the_fields_is_said() -> None:
    with pytest.raises(TypeError, match="Quick has no field fourth"):
        Quick(first=1, fourth=4)
    with pytest.raises(TypeError, match="Quick needs first"):
        Quick(second="two")


def test_methods_of_the_class_stay() -> None:
    @quick_dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Named:
        name: str

        def __repr__(self) -> str:
            return self.name

    assert repr(Named(name="me")) == "me"


def test_values_that_change_are_equal_by_their_fields_and_are_no_keys() -> None:
    @quick_dataclasses.dataclass(slots=True, kw_only=True)
    class Counter:
        count: int = 0

    counter = Counter()
    counter.count += 1
    assert counter == Counter(count=1)
    assert copy.deepcopy(counter) == counter
    with pytest.raises(TypeError, match="unhashable"):
        hash(counter)


def test_other_forms_are_refused() -> None:
    with pytest.raises(TypeError, match="only slotted, keyword-only"):
        quick_dataclasses.dataclass(frozen=True, slots=True)
    with pytest.raises(TypeError, match="options of their own"):

        @quick_dataclasses.dataclass(slots=True, kw_only=True)
        class _Private:
            secret: str = field(repr=False)
