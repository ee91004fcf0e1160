"""Values as people and programs read them, and numbers as they are read from text."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml

from hpcorch.model.value_text import literal_of, number_of, quoted, text_of, to_json, to_yaml
from hpcorch.model.values import same

LONG = f"1{'0' * 5000}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a 'b'", "a 'b'"),
        (True, "true"),
        (None, "null"),
        (1.0, "1.0"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        pytest.param(10**5000, LONG, id="long"),
        (Path("/data"), "/data"),
        (b"\x00\xff", "00ff"),
        ([1, math.nan, "x", None], '[1, nan, "x", null]'),
        pytest.param({"a": [True, 10**5000], 1: b"x"}, f'{{"a": [true, {LONG}], 1: 78}}', id="nested"),
    ],
)
def test_a_value_is_written_as_an_override_has_it(value, text):
    assert text_of(value) == text
    assert quoted(value) == (json.dumps(text) if isinstance(value, (str, Path)) else text)


def test_json_has_text_for_what_it_has_no_number_for():
    value = {
        "nan": math.nan,
        "inf": [math.inf, -math.inf],
        "big": 10**400,
        "long": 10**5000,
        "b": b"\xff",
        1: Path("/"),
    }
    read = json.loads(to_json(value))
    assert read == {"nan": "nan", "inf": ["inf", "-inf"], "big": 10**400, "long": LONG, "b": "ff", "1": "/"}
    assert to_json({"a": 1.0}, indent=2) == json.dumps({"a": 1.0}, indent=2)


def test_yaml_keeps_the_types():
    value = {"a": [1, 1.0, True, None, "1", math.nan, math.inf, b"x", 10**400], 1: {"b": ""}}
    assert same(yaml.safe_load(to_yaml(value)), value)
    assert to_yaml({"long": 10**5000, "path": Path("/data")}) == f"long: {LONG}\npath: /data\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1", 1), ("-0", 0), ("1_000", 1000), ("1.0", 1.0), ("-0.0", -0.0), (".5", 0.5), ("1.", 1.0)),
        *(("1e3", 1000.0), ("1_0.5E-1", 1.05), ("nan", math.nan), ("-INF", -math.inf), ("True", True)),
        *(("null", None), ("'1'", "1"), ('"a b"', "a b"), ("[1, 1.0]", [1, 1.0]), ('{"a": true}', {"a": True})),
        *((text, text) for text in ("007", "infinity", "1__0", ".", "-", "'", "a=b", "[x]", "")),
        pytest.param(LONG, 10**5000, id="long"),
    ],
)
def test_text_stands_for_the_value_that_an_override_would_have(text, value):
    assert same(literal_of(text), value)


def test_numbers_are_read_exactly_and_nothing_else_is_one():
    values = ["12", "1e2", str(2**53 + 1), LONG, " 5 ", 7, 0.5, "nan", "x", "", None, True, [1], "1,5"]
    found = [number_of(value) for value in values]
    assert same(found[:7], [12, 100.0, 2**53 + 1, 10**5000, 5, 7, 0.5])
    assert math.isnan(found[7])
    assert found[8:] == [None] * 6
