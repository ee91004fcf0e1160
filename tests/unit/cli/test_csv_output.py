"""CSV is data: exact for who reads it, no formula for a spreadsheet, no command for a terminal."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hpcorch.cli.shared.csv_output import write_csv

CONTROLS = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
PIECES = st.sampled_from(
    ["=", "+", "-", "@", "\t", "\r", "\n", "\r\n", '"', ",", ";", "\x1b[2J", "\0", "\x9b", "é", "1"]
)
TEXTS = st.one_of(st.text(max_size=8), st.lists(PIECES, max_size=5).map("".join))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(*cells: object, file: io.StringIO | None = None) -> str:
    file = file or io.StringIO()
    write_csv(["head"] * len(cells), [cells], file)
    return file.getvalue().partition("\n")[2]


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@given(st.lists(TEXTS, min_size=1, max_size=4))
@example(["a\rb"])
@example(["\r\n=1"])
def test_a_file_has_no_control_characters_but_line_breaks_and_tabs_and_no_formula(cells):
    (found,) = read(text := written(*cells))
    assert CONTROLS.search(text) is None
    assert len(found) == len(cells)
    for cell, was in zip(found, cells, strict=True):
        assert cell.removeprefix("'") == was.removeprefix("'") or CONTROLS.search(was)
        assert cell[:1] not in set("=+-@\t\r\n＝＋－＠") or float(cell) is not None  # noqa: RUF001 - the wide ones


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_on_a_terminal_a_row_is_one_line_of_printable_text(cells):
    assert written(*cells, file=Terminal()).removesuffix("\n").isprintable()


@pytest.mark.parametrize(
    "text", ["two\nlines", "two\r\nlines", "a\tb", "größe, 层", 'say "so"', "a=b", r"a\rb", " =1"]
)
def test_ordinary_text_is_read_as_it_was(text):
    assert read(written(text, 1)) == [[text, "1"]]


def test_other_control_characters_are_escaped_as_in_a_python_literal():
    assert read(written("a\rb", "\x1b]0;mine\x07", "\0", "\udc80")) == [
        [r"a\rb", r"\x1b]0;mine\x07", r"\x00", r"\udc80"]
    ]


def test_a_spreadsheet_executes_nothing_and_numbers_are_numbers(capsys):
    cells = ["=1+1", "+x=1", "-cmd", "@sum", "\tx", "-1e-3", "+5", "-inf", "a=b", -0.5, None]
    write_csv(["=head", *map(str, range(1, len(cells)))], [cells])
    head, row = capsys.readouterr().out.splitlines()
    assert head.startswith("'=head,1,")
    assert row == "'=1+1,'+x=1,'-cmd,'@sum,'\tx,-1e-3,+5,-inf,a=b,-0.5,"
