"""Rows as CSV (RFC 4180), for files, other programs and terminals.

What is in a cell comes from users and jobs: a spreadsheet must not execute it, and a terminal must not obey it. A
pipe may end at either (``… --csv | head``). So all CSV has line breaks and tabs as they are, and escapes for other
control characters, which RFC 4180 does not allow. ``--json`` is exact.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final, TextIO

from hpcorch.cli.shared.output import value_text
from hpcorch.model.value_text import escaped, printable

# What makes a formula of a cell's text in a spreadsheet (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - the wide ones count, too
# A carriage return without a line feed lets a terminal write over what stands before it. No file has surrogates.
_NOT_TEXT: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]|\r(?!\n)")


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]], file: TextIO | None = None) -> None:
    """Write a line of names, and the rows: numbers as Python writes them, nothing for None.

    Text has an apostrophe before what a spreadsheet would execute.

    :param file: standard output if None; a row is one line on a terminal, with all that is not printable escaped
    """
    file = sys.stdout if file is None else file
    on_one_line = file.isatty()
    cells = ([_cell(value, on_one_line=on_one_line) for value in row] for row in chain([columns], rows))
    csv.writer(file, lineterminator="\n").writerows(cells)


def _cell(value: Any, *, on_one_line: bool) -> str:
    if not isinstance(value, str):
        return value_text(value)
    marked = f"'{value}" if value.startswith(_FORMULA) and not _is_number(value) else value
    return printable(marked) if on_one_line else _NOT_TEXT.sub(lambda found: escaped(found[0]), marked)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
