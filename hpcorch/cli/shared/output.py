"""The forms of every command's output: a table for people, JSON, ids only; and progress while it waits.

What comes from users, jobs or Slurm is data: nothing in it reaches the terminal as a control sequence.
On a terminal tables are drawn by rich; elsewhere they are aligned text, and rich is not loaded.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hpcorch import tunables
from hpcorch.model.ids import named_runs, parse_time
from hpcorch.model.states import NOT_FINE, RunState
from hpcorch.model.value_text import printable, shortened, text_of, to_json
from hpcorch.slurm.sbatch.quoting import for_bash

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

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


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


def tell_passed_over(passed_over: Mapping[int, str]) -> None:
    """Say, reason by reason, of which runs nothing was done."""
    for why, runs in _by_reason(passed_over.items()).items():
        note(f"{named_runs(sorted(runs))} left alone: {why}")


def _by_reason(pairs: Iterable[tuple[int, str]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for run, why in pairs:
        found.setdefault(why, []).append(run)
    return found


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


def shell_text(words: Iterable[str]) -> str:
    """A command line on one line of printable text, to be pasted into bash: the same words, byte for byte."""
    return " ".join(for_bash(word) if "\0" not in word else printable(word) for word in words)


def duration(seconds: float | None) -> str:
    """``0.4s``, ``12s``, ``3m05s``, ``2h03m``, ``3d04h``; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 10:  # tenths matter while there are few
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02d}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02d}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02d}h"


def ago(seconds: float | None) -> str:
    """How old something is that is known since then: ``now``, ``3m05s ago``, or ``never``."""
    if seconds is None:
        return "never"
    return "now" if seconds < 1 else f"{duration(seconds)} ago"


def local_time(text: str | None) -> str:
    """A recorded time on this machine's clock, to the second; nothing for None."""
    if text is None:
        return ""
    try:
        return parse_time(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return printable(text)


def counts_text(counts: Mapping[RunState, int]) -> str:
    """Counts as text: ``3 RUNNING, 9 COMPLETED``."""
    return ", ".join(f"{count} {state.value}" for state in RunState if (count := counts.get(state, 0)))


def value_text(value: Any) -> str:
    """A value on one line; text without quotation marks, nothing for None."""
    return "" if value is None else printable(text_of(value))
