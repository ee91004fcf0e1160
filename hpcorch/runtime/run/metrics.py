"""What a task logs on its way: the curve for the journal, last, lowest and highest for the ledger. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from hpcorch import tunables
from hpcorch.errors import UsageError
from hpcorch.model import events
from hpcorch.runtime.run.arguments import metric, step_number

Summary = dict[str, dict[str, list[Any]]]


class Metrics:
    """Collects what is logged until it is taken.

    :ivar summary: name -> ``last``, ``min`` and ``max`` as [step, value], over all that was taken
    :ivar has_news: the summary has changed since :meth:`news`
    """

    def __init__(self) -> None:
        self.summary: Summary = {}
        self.has_news = False
        self._waiting: list[tuple[int, dict[str, float]]] = []

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Note values of one step.

        :raises UsageError: a value is not a number, or the step is no step
        """
        try:
            self._waiting.append((step_number(step), {name: metric(value) for name, value in values.items()}))
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"a metric must be one number, and {dict(values)!r} at step {step} holds something else ({error}):"
                " reduce it first, such as by its mean"
            ) from None

    def take(self) -> Iterator[events.MetricsLogged]:
        """All that was added since the last time, as facts; the summary covers it afterwards."""
        waiting, self._waiting = self._waiting, []
        self.has_news |= bool(waiting)
        for step, values in waiting:
            for name, value in values.items():
                self._summarise(name, step, value)
        for start in range(0, len(waiting), tunables.METRICS_PER_LINE):
            some = waiting[start : start + tunables.METRICS_PER_LINE]
            yield events.MetricsLogged(
                entries=[[step, {name: _json(value) for name, value in values.items()}] for step, values in some]
            )

    def restore(self, summary: Summary) -> None:
        """Continue from a checkpoint's metrics; what was logged before this call is forgotten."""
        self.summary = {name: {key: list(entry) for key, entry in parts.items()} for name, parts in summary.items()}
        self._waiting = []
        self.has_news = bool(summary)

    def news(self) -> Summary:
        """A copy of the summary, which then counts as recorded."""
        self.has_news = False
        return {name: dict(parts) for name, parts in self.summary.items()}

    def _summarise(self, name: str, step: int, value: float) -> None:
        entry = [step, _json(value)]
        parts = self.summary.get(name)
        if parts is None:
            parts = self.summary[name] = {"last": entry}
        parts["last"] = entry
        if not math.isfinite(value):  # a diverged step is neither the lowest nor the highest
            return
        if "min" not in parts or value < parts["min"][1]:
            parts["min"] = entry
        if "max" not in parts or value > parts["max"][1]:
            parts["max"] = entry


def _json(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
