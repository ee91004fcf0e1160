"""Slurm's lists of array tasks."""

from __future__ import annotations

import pytest

from hpcorch.slurm.array_elements import parse_tasks


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("7", [7]),
        ("0-2,5", [0, 1, 2, 5]),
        ("0-14:2", [0, 2, 4, 6, 8, 10, 12, 14]),
        ("3,20%1", [3, 20]),
        ("0-3%2", [0, 1, 2, 3]),
    ],
)
def test_every_form_of_slurm_is_read(text, indices):
    assert parse_tasks(text) == indices


@pytest.mark.parametrize("text", ["", "N/A", "1,4,9,...", "1,4,9,...%2", "1,2-", "-3", "[0-2]", "4,1..."])
def test_what_is_no_whole_list_is_refused(text):
    with pytest.raises(ValueError, match="not a whole list"):
        parse_tasks(text)
