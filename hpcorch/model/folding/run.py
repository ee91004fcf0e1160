"""From events to a run and its attempts: pure functions of a set of events.

Nothing here depends on the order in which events became known. Facts of one source are ordered by their
sequence number, attempts by (submission, restart); the clock is never asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hpcorch.model.entities import Attempt, Run
from hpcorch.model.events import CONTROL_SOURCE, Event, JobObserved, MetricsSummarised, RunPlanned
from hpcorch.model.folding.attempts import fold_attempts
from hpcorch.model.folding.evidence import RunEvidence
from hpcorch.model.folding.run_state import settle_run
from hpcorch.model.states import RunState
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedRun:
    """A run and its attempts, as the evidence has them."""

    run: Run
    attempts: tuple[Attempt, ...]


def fold_run(evidence: RunEvidence) -> FoldedRun:
    """The run and its attempts, from all evidence about it.

    The winning attempt is the highest (submission, restart) that executed or tried to: an attempt that skipped
    because the run had ended, or gave way to a later one, decides nothing, and what a superseded attempt
    writes late changes nothing.
    """
    observed = _last_words(evidence.observed)
    attempts = fold_attempts(evidence, observed)
    planned = _as_planned(evidence, len(attempts))
    return FoldedRun(run=settle_run(planned, evidence, attempts, observed), attempts=attempts)


def _as_planned(evidence: RunEvidence, attempts: int) -> Run:
    """The run before anything is said of what became of it, but for how many attempts it had, and their metrics."""
    planned = evidence.planned.fact
    assert isinstance(planned, RunPlanned)
    return Run(
        sweep=evidence.planned.sweep,
        run=planned.run,
        launch=evidence.launch,
        base=planned.base,
        state=RunState.PLANNED,
        overrides=tuple(planned.overrides),
        params=planned.params,
        changes=planned.changes,
        config_digest=planned.config_digest,
        seed=planned.seed,
        seed_source=planned.seed_source,
        directory=planned.directory,
        launcher=planned.launcher or {},
        key=planned.key or "",
        attempts=attempts,
        metrics=_metrics(evidence.attempts[attempt] for attempt in sorted(evidence.attempts, reverse=True)),
    )


def _metrics(attempts: Iterable[Sequence[Event]]) -> Mapping[str, Mapping[str, Sequence[Any]]]:
    """The metrics of the first of these attempts that summarised any, as it last did."""
    for events in attempts:
        told = [(event.seq, event.fact.metrics) for event in events if isinstance(event.fact, MetricsSummarised)]
        if told:
            return max(told, key=lambda item: item[0])[1]
    return {}


def _last_words(observed: Iterable[Event]) -> dict[tuple[int, int], JobObserved]:
    """The scheduler's last word on each (submission, restart)."""
    words: dict[tuple[int, int], JobObserved] = {}
    for event in sorted(observed, key=lambda item: (item.source != CONTROL_SOURCE, item.seq)):
        fact = event.fact
        assert isinstance(fact, JobObserved)
        words[fact.submission, fact.restart] = fact
    return words
