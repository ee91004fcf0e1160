"""The plain form of a configuration and its digest."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from hpcorch.model.values import ABSENT, from_plain, join_path, patched, split_path
from hpcorch.runtime.program.configuration import canonical, digest, fix, plain, task_plain
from tests.support.composing_schema import Color, Typed


def values():
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
    paths = st.text(st.sampled_from("ab/."), min_size=1).map(Path)
    return st.recursive(
        scalars | paths, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
    )


@given(values())
def test_plain_form_leads_back_to_the_value(value):
    assert from_plain(plain(value)) == value
    canonical(plain(value)).encode("ascii")


@given(st.lists(st.text(), min_size=1))
def test_path_leads_back_to_its_keys(keys):
    assert list(split_path(join_path(keys))) == keys


def test_values_without_json_form_are_tagged():
    config = OmegaConf.create({"typed": OmegaConf.structured(Typed), 1: float("nan"), Color.RED: float("-inf")})
    form = plain(config)
    assert form["typed"]["color"] == "RED"
    assert form["typed"]["blob"] == {"$bytes": "AHg="}
    assert form["typed"]["where"] == {"$path": "/data"}
    assert form["$int:1"] == {"$float": "nan"}
    assert form["$enum:RED"] == {"$float": "-inf"}


def test_digest_does_not_depend_on_the_order_of_keys_nor_on_hydras_node():
    one = OmegaConf.create({"a": 1, "b": {"c": 2, "d": 3}, "hydra": {"x": 1}})
    other = OmegaConf.create({"b": {"d": 3, "c": 2}, "a": 1})
    assert digest(task_plain(one)) == digest(task_plain(other))
    assert digest({"a": 1}) == "sha256:015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


def test_true_and_one_and_text_have_different_digests():
    assert len({digest(plain(value)) for value in (True, 1, 1.0, "1", "true", None, "null")}) == 7


def test_patched_leaves_the_base_alone():
    base = {"a": {"b": [1, {"c": 2}], "d": 3}, "e": 4}
    changed = patched(base, {"a.b.1.c": 5, "a.d": ABSENT, "f": {"g": 1}})
    assert changed == {"a": {"b": [1, {"c": 5}]}, "e": 4, "f": {"g": 1}}
    assert base == {"a": {"b": [1, {"c": 2}], "d": 3}, "e": 4}


@pytest.mark.parametrize("key", ["$path", "$$x", "$int:1", "a.b", "", "\\"])
def test_odd_keys_are_told_apart_from_tags(key):
    assert from_plain(plain({key: "/x"})) == {key: "/x"}


def test_value_is_put_inside_a_tuple():
    config = OmegaConf.create({"pair": ("${now:%Y}", 2)})
    fix(config, "pair.0", "2026")
    assert list(config.pair) == ["2026", 2]
