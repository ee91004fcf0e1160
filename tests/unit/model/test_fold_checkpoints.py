"""What an attempt's checkpoints and metrics, and a submission's keeper, fold to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from hpcorch.model import events as ev
from hpcorch.model.folding.evidence import EVIDENCE, LAST_WORDS, RunEvidence
from hpcorch.model.folding.run import FoldedRun, fold_run
from hpcorch.model.folding.sweep import fold_submissions
from hpcorch.model.ids import AttemptId
from hpcorch.model.states import SubmissionState
from tests.support.events import SWEEP, attempt, planned, segment, submitted

FIRST, SECOND, THIRD = (AttemptId(run=0, submission=0, restart=restart) for restart in range(3))


def saved(step: int, by: AttemptId = FIRST, **changes: Any) -> ev.CheckpointSaved:
    values: dict[str, Any] = {"size": 10, "digest": "sha256:0", "seconds": 0.1, **changes}
    return ev.CheckpointSaved(step=step, file=f"checkpoints/0/{step}.{by}", **values)


def restored(step: int, by: AttemptId) -> ev.CheckpointRestored:
    return ev.CheckpointRestored(
        step=step, file=f"checkpoints/0/{step}.{by}", digest="sha256:0", attempt=str(by), generators=["random"]
    )


def summary(step: int, loss: float | str) -> ev.MetricsSummarised:
    return ev.MetricsSummarised(metrics={"loss": {"last": [step, loss], "min": [step, loss], "max": [1, 2.5]}})


def fold(journals: Mapping[AttemptId, Sequence[ev.Fact]], *, backwards: bool = False) -> FoldedRun:
    (plan,) = segment("launch-0", [planned(0)]).events
    attempts = {name: segment(str(name), facts).events for name, facts in journals.items()}
    if backwards:
        attempts = {name: tuple(reversed(events)) for name, events in reversed(attempts.items())}
    return fold_run(RunEvidence(planned=plan, launch=0, attempts=attempts))


@pytest.mark.parametrize("backwards", [False, True])
def test_each_attempt_tells_where_it_started_and_what_it_last_saved(backwards: bool) -> None:
    claimed = attempt()[:4]
    journals = {
        FIRST: [*claimed, saved(10), saved(20)],
        SECOND: [*claimed, restored(20, FIRST), saved(30, SECOND)],
        THIRD: [*claimed, restored(30, SECOND), attempt()[-1]],
    }
    first, second, third = fold(journals, backwards=backwards).attempts
    assert (first.restored_from, first.restored_step, first.checkpoint_step) == (None, None, 20)
    assert (second.restored_from, second.restored_step, second.checkpoint_step) == ("0.s0.r0", 20, 30)
    assert second.checkpoint == "checkpoints/0/30.0.s0.r1"
    assert (third.restored_from, third.restored_step, third.checkpoint_step) == ("0.s0.r1", 30, None)


@pytest.mark.parametrize("backwards", [False, True])
def test_metrics_are_the_last_summary_of_the_highest_attempt_that_has_one(backwards: bool) -> None:
    journals = {
        FIRST: [attempt()[0], summary(10, 0.5), summary(20, 0.25)],
        SECOND: [attempt()[0], summary(15, "nan"), summary(16, 0.375)],
        THIRD: [attempt()[0]],
    }
    assert fold(journals, backwards=backwards).run.metrics == summary(16, 0.375).metrics


def test_a_run_that_logs_and_saves_nothing_has_neither() -> None:
    folded = fold({FIRST: attempt()})
    assert folded.run.metrics == {}
    assert (folded.attempts[0].checkpoint, folded.attempts[0].restored_from) == (None, None)


def test_only_the_last_of_what_is_told_often_is_needed() -> None:
    claimed = attempt()[0]
    every = [claimed, saved(1), summary(1, 1.0), saved(2), summary(2, 0.5)]
    last = [claimed, *(fact for fact in every[1:] if isinstance(fact, LAST_WORDS))][-2:]
    assert fold({FIRST: every}) == fold({FIRST: [claimed, *last]})
    assert not set(LAST_WORDS) & set(EVIDENCE)


def test_keeper_of_a_submission_is_known_by_its_job() -> None:
    told = [*submitted(0, "0-1"), *submitted(1, "2"), ev.KeeperSubmitted(submission=1, job_id="4712")]
    submissions = fold_submissions(segment("control", told).events)
    assert [submissions[number].keeper for number in (0, 1)] == [None, "4712"]
    assert submissions[1].state is SubmissionState.RELEASED
    assert submissions[0].sweep == SWEEP
