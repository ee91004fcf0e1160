"""A line of a journal: read as it was written, or not at all, whoever wrote it."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from hpcorch.journal.lines import MOST_NESTED, DamagedLineError, decode, encode, seal, unseal
from hpcorch.model.events import AttemptEnded

TIME = "2026-11-23T14:30:00.000000Z"
FACT = AttemptEnded(outcome="completed", exit_code=0, result={"a": [1, {"$int": "18446744073709551616"}]})
HEADER = {"v": 1, "seq": 0, "time": TIME, "kind": "attempt-called"}


def signed(text: str) -> bytes:
    """A text with the checksum that makes a line of it."""
    body = text.encode()[:-1]
    return body + f',"crc":"{zlib.crc32(body):08x}"}}\n'.encode()


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_fact_is_read_as_it_was_written() -> None:
    event = decode(encode(FACT, seq=7, time=TIME), sweep="s", source="0.s0.r0")
    assert (event.fact, event.seq, event.time) == (FACT, 7, TIME)


@pytest.mark.parametrize(
    "text",
    [
        "{%s}" % ('"a":' + "[" * 100_000 + "]" * 100_000),
        "{%s}" % ('"a":' + "9" * 100_000),
        "[1]",
        "{nonsense}",
        *(
            json.dumps({**HEADER, **change})
            for change in (
                {"seq": 1 << 64},
                {"seq": -1},
                {"seq": True},
                {"seq": "0"},
                {"seq": None},
                {"time": 0},
                {"time": "yesterday"},
                {"time": "0001-01-01T00:00:00.000000Z"},
                {"kind": ["attempt-called"]},
                {"result": nested(MOST_NESTED)},
            )
        ),
    ],
)
def test_a_line_with_a_true_checksum_that_hpcorch_does_not_write_is_damaged(text: str) -> None:
    with pytest.raises(DamagedLineError):
        decode(signed(text), sweep="s", source="control")


def test_what_can_be_written_can_be_read_and_the_rest_is_refused_when_it_is_written() -> None:
    deepest = {"a": nested(MOST_NESTED - 1)}
    assert unseal(seal(deepest)) == deepest
    with pytest.raises(ValueError, match="inside each other"):
        seal({"a": nested(MOST_NESTED)})
