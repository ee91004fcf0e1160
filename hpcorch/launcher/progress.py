"""Progress of a sweep: a bar on a terminal, plain lines elsewhere.

Runs go on whether or not it can be shown: a program may have closed or replaced its standard error, and a reader of
a pipe may be gone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from hpcorch import tunables
from hpcorch.model.states import RunState
from hpcorch.runtime.context.output import to_stderr


class Progress:
    """Shows counts of runs by state as they change."""

    def show(self, counts: Mapping[RunState, int]) -> None:
        """Show the counts now, if they differ from those shown last."""
        raise NotImplementedError


class LineProgress(Progress):
    """Plain lines on standard error, at most one in ten seconds except for the last."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown: Mapping[RunState, int] = {}
        self._next = 0.0

    def show(self, counts: Mapping[RunState, int]) -> None:
        over = all(state.is_final for state, count in counts.items() if count)
        if counts == self._shown or (time.monotonic() < self._next and not over):
            return
        self._shown = dict(counts)
        self._next = time.monotonic() + tunables.PROGRESS_LINE_S
        to_stderr(f"{self._title}: {describe(counts)}\n")


class BarProgress(Progress):
    """A bar on a terminal."""

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[states]}"),
            console=Console(stderr=True),
        )
        self._task = self._bars.add_task(title, total=None, states="")

    def show(self, counts: Mapping[RunState, int]) -> None:
        over = sum(count for state, count in counts.items() if state.is_final)
        self._bars.update(self._task, total=sum(counts.values()), completed=over, states=describe(counts))

    @contextmanager
    def live(self) -> Iterator[None]:
        """Draw while the block runs."""
        with self._bars:
            yield


@contextmanager
def progress(title: str) -> Iterator[Progress]:
    """The progress display that fits standard error."""
    if not _is_terminal():
        yield LineProgress(title)
        return
    bar = BarProgress(title)
    with bar.live():
        yield bar


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def describe(counts: Mapping[RunState, int]) -> str:
    """Counts as text: ``3 RUNNING, 9 COMPLETED``."""
    return ", ".join(f"{count} {state.value}" for state in RunState if (count := counts.get(state, 0)))
