"""What a sweep's control journal says so far, for those who are about to add to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.reader import read_segment
from hpcorch.model.entities import Submission
from hpcorch.model.events import (
    CONTROL_SOURCE,
    ControlRequested,
    Event,
    FeedingPlanned,
    JobObserved,
    SubmissionIntended,
    SubmissionRejected,
)
from hpcorch.model.folding.sweep import fold_submissions
from hpcorch.model.ids import AttemptId


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlHistory:
    """Submissions by number, the scheduler's last word on each attempt, and what people asked of it.

    :param changed: submission -> launcher keys that it was made with instead of the launch's own
    :param throttles: submission -> ``units`` and ``bound`` of one that shares throttled resources
    :param at_once: submission -> the ``array_parallelism`` that it was made with, where it was asked for
    :param limited: submissions that Slurm refused because of how many jobs the user has
    :param feeding: launches whose runs are submitted as there is room -> how many jobs the user may have, if known
    """

    submissions: Mapping[int, Submission]
    observed: Mapping[AttemptId, JobObserved]
    requests: Sequence[ControlRequested]
    changed: Mapping[int, Mapping[str, Any]]
    throttles: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    at_once: Mapping[int, int] = field(default_factory=dict)
    limited: frozenset[int] = frozenset()
    feeding: Mapping[int, int | None] = field(default_factory=dict)

    @property
    def next_submission(self) -> int:
        """The number that the next submission of the sweep gets."""
        return max(self.submissions, default=-1) + 1


def read_history(layout: SweepLayout, sweep: str, *, until: int | None = None) -> ControlHistory:
    """Read the control journal. Call it under the sweep's lock if something is to be decided from it.

    :param until: only what stands before this byte offset, such as what a ledger has taken over
    """
    events = read_segment(layout.control, sweep=sweep, source=CONTROL_SOURCE, offset=0, until=until).events
    facts = [event.fact for event in events]
    intents = [fact for fact in facts if isinstance(fact, SubmissionIntended)]
    return ControlHistory(
        submissions=fold_submissions(events),
        observed=_last_words(events),
        requests=[fact for fact in facts if isinstance(fact, ControlRequested)],
        changed={fact.submission: fact.changed for fact in intents if fact.changed},
        throttles={fact.submission: fact.throttle for fact in intents if fact.throttle},
        at_once={fact.submission: fact.at_once for fact in intents if fact.at_once},
        limited=frozenset(f.submission for f in facts if isinstance(f, SubmissionRejected) and f.limited),
        feeding={fact.launch: fact.max_submit for fact in facts if isinstance(fact, FeedingPlanned)},
    )


def _last_words(events: tuple[Event, ...]) -> dict[AttemptId, JobObserved]:
    words: dict[AttemptId, JobObserved] = {}
    for event in events:
        fact = event.fact
        if isinstance(fact, JobObserved):
            words[fact.attempt] = fact
    return words
