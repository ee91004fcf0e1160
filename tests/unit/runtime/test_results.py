"""A result that has a file of its own is read back as it was recorded, or not at all."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from hpcorch.errors import RecordError
from hpcorch.journal.layout import SweepLayout
from hpcorch.model.events import AttemptEnded
from hpcorch.model.ids import AttemptId
from hpcorch.runtime.attempt.results import decode_result, encode_result

VALUE = tuple(range(20000))


class Payload:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> object:
        return Path.touch, (self._mark,)


@pytest.fixture
def layout(tmp_path: Path) -> SweepLayout:
    (found := SweepLayout(tmp_path)).state.mkdir()
    return found


@pytest.fixture
def end(layout: SweepLayout) -> AttemptEnded:
    encoded = encode_result(VALUE, layout, AttemptId(run=0, submission=0, restart=0))
    return AttemptEnded(
        outcome="completed",
        exit_code=0,
        result=encoded.result,
        result_file=encoded.result_file,
        result_digest=encoded.result_digest,
    )


def test_it_comes_back(layout, end):
    assert decode_result(end, layout) == VALUE


def test_a_file_that_was_changed_is_neither_executed_nor_returned(layout, end, tmp_path):
    (file,) = layout.results.iterdir()
    file.write_bytes(pickle.dumps(Payload(mark := tmp_path / "mark")))
    with pytest.raises(RecordError, match="was changed after the run had ended"):
        decode_result(end, layout)
    assert not mark.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_a_file_of_another_users_is_not_executed(layout, end):
    (file,) = layout.results.iterdir()
    os.chown(file, 4242, 4242)
    with pytest.raises(RecordError, match="belongs to 4242"):
        decode_result(end, layout)
