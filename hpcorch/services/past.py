"""What a sweep's control journal says so far, for those who are about to add to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.reader import read_segment
from hpcorch.model.entities import Submission
from hpcorch.model.events import CONTROL_SOURCE, ControlRequested, Event, JobObserved, SubmissionIntended
from hpcorch.model.fold import fold_submissions
from hpcorch.model.ids import AttemptId


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """Submissions by number, the scheduler's last word on each attempt, and what people asked of it.

    :param changed: submission -> launcher keys that it was made with instead of the batch's own
    """

    submissions: Mapping[int, Submission]
    observed: Mapping[AttemptId, JobObserved]
    requests: Sequence[ControlRequested]
    changed: Mapping[int, Mapping[str, Any]]

    @property
    def next_submission(self) -> int:
        """The number that the next submission of the sweep gets."""
        return max(self.submissions, default=-1) + 1


def read_past(layout: SweepLayout, sweep: str, *, until: int | None = None) -> Past:
    """Read the control journal. Call it under the sweep's lock if something is to be decided from it.

    :param until: only what stands before this byte offset, such as what a ledger has taken over
    """
    events = read_segment(layout.control, sweep=sweep, source=CONTROL_SOURCE, offset=0, until=until).events
    return Past(
        submissions=fold_submissions(events),
        observed=_last_words(events),
        requests=[event.fact for event in events if isinstance(event.fact, ControlRequested)],
        changed={
            event.fact.submission: event.fact.changed
            for event in events
            if isinstance(event.fact, SubmissionIntended) and event.fact.changed
        },
    )


def _last_words(events: tuple[Event, ...]) -> dict[AttemptId, JobObserved]:
    words: dict[AttemptId, JobObserved] = {}
    for event in events:
        fact = event.fact
        if isinstance(fact, JobObserved):
            words[AttemptId(run=fact.run, submission=fact.submission, restart=fact.restart)] = fact
    return words
