"""Counts of runs by state, on standard error, as they change."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from hpcorch import tunables
from hpcorch.cli.shared import output
from hpcorch.cli.shared.text import counts_text
from hpcorch.model.states import RunState


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
        output.note(f"{self._title}: {text}")
