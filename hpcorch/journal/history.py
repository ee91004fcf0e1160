"""What a sweep's control journal says so far, for those who decide what to add to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from hpcorch.model.entities import Submission
from hpcorch.model.events import (
    ControlRequested,
    Event,
    Fact,
    FeedingPlanned,
    JobObserved,
    SubmissionIntended,
    SubmissionRejected,
)
from hpcorch.model.folding.sweep import fold_submissions
from hpcorch.model.ids import AttemptId
from hpcorch.quick_dataclasses import dataclass


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

    def with_events(self, events: Sequence[Event]) -> ControlHistory:
        """The history that goes on with these events of the control journal."""
        facts = [event.fact for event in events]
        intents = [fact for fact in facts if isinstance(fact, SubmissionIntended)]
        refused = [fact for fact in facts if isinstance(fact, SubmissionRejected)]
        return replace(
            self,
            submissions=fold_submissions(events, self.submissions),
            observed={**self.observed, **_last_words(facts)},
            requests=[*self.requests, *(fact for fact in facts if isinstance(fact, ControlRequested))],
            changed={**self.changed, **{one.submission: one.changed for one in intents if one.changed}},
            throttles={**self.throttles, **{one.submission: one.throttle for one in intents if one.throttle}},
            at_once={**self.at_once, **{one.submission: one.at_once for one in intents if one.at_once}},
            limited=self.limited.union(one.submission for one in refused if one.limited),
            feeding={**self.feeding, **{f.launch: f.max_submit for f in facts if isinstance(f, FeedingPlanned)}},
        )


EMPTY_HISTORY = ControlHistory(submissions={}, observed={}, requests=(), changed={})


def _last_words(facts: Iterable[Fact]) -> dict[AttemptId, JobObserved]:
    return {fact.attempt: fact for fact in facts if isinstance(fact, JobObserved)}
