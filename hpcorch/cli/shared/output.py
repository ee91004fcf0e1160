"""The forms of every command's output: a table for people, JSON, ids only; and progress while it waits.

On a terminal tables are drawn by rich; elsewhere they are aligned text, and rich is not loaded.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hpcorch import tunables
from hpcorch.cli.shared.text import counts_text
from hpcorch.model.states import NOT_FINE, RunState
from hpcorch.model.value_text import printable, shortened, to_json

if TYPE_CHECKING:
    from rich.table import Table as RichTable

# Longer cells would push the others out of sight; --json has all of it.
_WIDEST_CELL = 100
_GAP = "  "
_STYLES: Mapping[str, str] = {
    **{state.value: "red" for state in NOT_FINE},
    **{
        state.value: "yellow"
        for state in (RunState.CANCELLING, RunState.CANCELLED, RunState.UNCERTAIN, RunState.SUSPENDED)
    },
    RunState.COMPLETED.value: "green",
    RunState.RUNNING.value: "cyan",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text. Cells may hold anything; what is not printable is escaped when they are written.

    :param flexible: columns that give way on a narrow terminal
    :param spared: columns that such a terminal does not show, the first that is spared first
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    flexible: frozenset[str] = frozenset()
    spared: Sequence[str] = ()

    def without(self, column: str) -> Table:
        """The same without a column."""
        place = self.columns.index(column)
        rows = [[*row[:place], *row[place + 1 :]] for row in self.rows]
        return replace(self, columns=[*self.columns[:place], *self.columns[place + 1 :]], rows=rows)


def write(text: str) -> None:
    """A line of text that is already printable."""
    sys.stdout.write(f"{text}\n")


def write_ids(ids: Iterable[str]) -> None:
    """Ids, one a line, for other programs."""
    for text in ids:
        write(text)


def write_json(value: Any) -> None:
    """JSON in ASCII (:func:`hpcorch.model.value_text.to_json`): indented on a terminal, one line elsewhere."""
    write(to_json(value, indent=2 if sys.stdout.isatty() else None))


def write_table(table: Table) -> None:
    """A table for people."""
    if sys.stdout.isatty():
        _draw(table)
        return
    for line in _aligned(table):
        write(line)


def note(text: str) -> None:
    """A sentence beside the output, on standard error."""
    sys.stderr.write(f"hpcorch: {printable(text)}\n")


def notes(texts: Iterable[str]) -> None:
    """Sentences beside the output."""
    for text in texts:
        note(text)


def _aligned(table: Table) -> Iterator[str]:
    rows = _cells(table)
    widths = _widths(rows)
    for row in rows:
        yield _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cells(table: Table) -> list[list[str]]:
    heads = [printable(column).upper() for column in table.columns]
    return [heads, *([shortened(printable(cell), _WIDEST_CELL) for cell in row] for row in table.rows)]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def fitted(table: Table, width: int) -> Table:
    """The table without as many of its spared columns as it takes to fit a terminal."""
    for column in table.spared:
        widths = _widths(_cells(table))
        if sum(widths) + len(_GAP) * (len(widths) - 1) <= width:
            break
        table = table.without(column)
    return table


def _draw(table: Table) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout)
    console.print(drawn(fitted(table, console.width)))


def drawn(table: Table) -> RichTable:
    """A table as rich draws it on a terminal."""
    from rich.table import Table as RichTable
    from rich.text import Text

    def text(cell: str) -> Text:
        # A Text object, since rich would read [red] in a plain string as markup.
        shown = shortened(printable(cell), _WIDEST_CELL)
        return Text(shown, style=_STYLES.get(cell, ""), no_wrap=True, overflow="ellipsis")

    made = RichTable(box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        # Where the terminal is narrow, rich takes width from the columns that may wrap; cells themselves never do.
        made.add_column(text(column.upper()), no_wrap=column not in table.flexible)
    for row in table.rows:
        made.add_row(*map(text, row))
    return made


class CountsLines:
    """Lines of counts: at once on a terminal, elsewhere at most one in ten seconds except for the last."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown = ""
        self._next = 0.0

    def show(self, counts: Mapping[RunState, int]) -> None:
        """Show the counts now, if they differ from those shown last."""
        text = counts_text(counts)
        over = all(state.is_final for state, count in counts.items() if count)
        early = time.monotonic() < self._next and not sys.stderr.isatty()
        if text == self._shown or (early and not over):
            return
        self._shown = text
        self._next = time.monotonic() + tunables.PROGRESS_LINE_S
        note(f"{self._title}: {text}")
