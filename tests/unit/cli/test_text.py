"""Values as people see them."""

from __future__ import annotations

import os
import subprocess

import pytest

from hpcorch.cli.shared.output import (
    Table,
    ago,
    counts_text,
    duration,
    fitted,
    local_time,
    printable,
    shell_text,
    value_text,
    write_table,
)
from hpcorch.model.states import RunState
from hpcorch.model.value_text import shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("lr=0.1", "lr=0.1"),
        ("name=größe 层", "name=größe 层"),
        ("a\nb\x00\x1b[31mred", r"a\nb\x00\x1b[31mred"),
        ("safe\u202egnp", r"safe\u202egnp"),
        ("x=\udcff", r"x=\udcff"),
    ],
)
def test_nothing_that_controls_a_terminal_reaches_it(text, shown):
    assert printable(text) == shown


def test_a_command_line_can_be_pasted_into_a_shell():
    words = ["sh", "-c", 'echo "it\'s"\n\ttwo\\n lines', "*", "", "größe", "safe\u202egnp", os.fsdecode(b"\xff1")]
    shown = shell_text(words)
    assert shown == printable(shown)
    assert "$'echo \"it\\'s\"\\n\\ttwo\\\\n lines'" in shown
    pasted = ["bash", "-c", f"printf '%s\\0' {shown}"]
    read = subprocess.run(pasted, capture_output=True, check=True, env={"LC_ALL": "C"}).stdout
    assert read.split(b"\0")[:-1] == [os.fsencode(word) for word in words]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.44, "0.4s"), (12.7, "12s"), (185, "3m05s"), (7380, "2h03m"), (273600, "3d04h")],
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(None, "never"), (0.3, "now"), (185, "3m05s ago")])
def test_ages_are_told_in_words(seconds, text):
    assert ago(seconds) == text


def test_long_text_is_cut_with_a_mark():
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abcd", 4) == "abcd"


def test_counts_come_in_the_order_of_a_runs_life():
    assert counts_text({RunState.COMPLETED: 9, RunState.RUNNING: 3}) == "3 RUNNING, 9 COMPLETED"


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.5, "0.5"), ("a\tb", r"a\tb"), ({"a": [1, "ü"]}, '{"a": [1, "ü"]}'), (0, "0")]
)
def test_results_are_one_line(value, text):
    assert value_text(value) == text


def test_a_time_that_is_none_is_shown_as_it_is():
    assert local_time("soon\x07") == r"soon\x07"
    assert local_time(None) == ""


def test_a_narrow_terminal_is_spared_the_columns_that_are_needed_least() -> None:
    table = Table(columns=("a", "bb", "c"), rows=[["1", "2", "wide"], ["1", "22", "3"]], spared=("bb", "a"))
    assert [fitted(table, width).columns for width in (11, 10, 6)] == [("a", "bb", "c"), ["a", "c"], ["c"]]
    assert fitted(table, 10).rows == [["1", "wide"], ["1", "3"]]


def test_a_name_of_a_column_is_data_as_its_cells_are(capsys):
    write_table(Table(columns=["lr", "\x1b[31mred"], rows=[["0.1", "\x1b]0;mine\x07"]]))
    assert "\x1b" not in capsys.readouterr().out
