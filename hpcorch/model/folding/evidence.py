"""What is known of one run, and which facts that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from hpcorch.model.entities import Submission
from hpcorch.model.events import (
    AttemptCalled,
    AttemptClaimed,
    AttemptEnded,
    AttemptSeeded,
    AttemptSignalled,
    CheckpointRestored,
    CheckpointSaved,
    CommandEnded,
    Event,
    Fact,
    JobObserved,
    MetricsSummarised,
    RunPlanned,
    RunReused,
)
from hpcorch.model.ids import AttemptId
from hpcorch.quick_dataclasses import dataclass

# The facts that a run is folded from. Others may be many (and are kept); who gathers evidence may leave them out.
EVIDENCE: tuple[type[Fact], ...] = (
    RunPlanned,
    RunReused,
    JobObserved,
    AttemptClaimed,
    AttemptSeeded,
    CheckpointRestored,
    AttemptCalled,
    AttemptSignalled,
    CommandEnded,
    AttemptEnded,
)
# Further ones, of which an attempt may write thousands. Only the last of each kind of an attempt counts.
LAST_WORDS: tuple[type[Fact], ...] = (CheckpointSaved, MetricsSummarised)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvidence:
    """All that is known of one run. Incomplete evidence folds as well, to what it supports."""

    planned: Event
    launch: int
    submissions: Sequence[Submission] = ()  # those that include the run
    observed: Sequence[Event] = ()  # JobObserved of this run
    attempts: Mapping[AttemptId, Sequence[Event]] = field(default_factory=dict)
    reused: Event | None = None  # RunReused
