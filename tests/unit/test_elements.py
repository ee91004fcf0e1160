"""Which array elements an action is for."""

from __future__ import annotations

from typing import Any

import pytest

from hpcorch.model.entities import Run, Submission
from hpcorch.model.events import ControlRequested, JobObserved
from hpcorch.model.states import RunState, SubmissionState
from hpcorch.services.elements import choose, elements_of
from hpcorch.services.requests import attributed


def run(index: int, state: str, submission: int | None = 0) -> Run:
    return Run(
        sweep="s",
        run=index,
        batch=0,
        base=0,
        state=RunState.parse(state),
        overrides=(),
        params={},
        changes={},
        config_digest="",
        seed=0,
        seed_source="derived",
        directory="",
        submission=submission,
    )


def submission(number: int, runs: tuple[int, ...], job_id: str | None) -> Submission:
    return Submission(
        sweep="s",
        submission=number,
        batch=0,
        runs=runs,
        token="",
        backend="slurm",
        script="",
        state=SubmissionState.RELEASED,
        intended_at="",
        job_id=job_id,
    )


@pytest.mark.parametrize(
    ("indices", "text"), [([3], "369_3"), ([4, 0, 2, 3], "369_[0,2-4]"), (range(1000), "369_[0-999]")]
)
def test_elements_are_written_in_one_word(indices, text):
    assert elements_of("369", indices) == text


def test_an_action_names_array_indices_of_the_latest_submission_and_whole_arrays_once():
    every = [run(0, "CD"), run(1, "R", 1), run(2, "PD"), run(3, "PD", 1), run(4, "PD", 2)]
    made = {
        0: submission(0, (0, 1, 2, 3), "369"),
        1: submission(1, (1, 3), "370"),
        2: submission(2, (4,), None),
    }
    chosen = choose("cancel", [every[0], every[2], every[3], every[4]], every, made)
    assert [target.element for target in chosen.targets] == ["369", "370_1"]
    assert chosen.unsettled == [4]
    assert chosen.passed_over == {0: "it is over (COMPLETED)"}
    held = choose("hold", every[:4], every, made)
    assert held.runs == [2, 3]
    assert held.passed_over[1] == "it does not wait (RUNNING)"


def observed(state: str, reason: str | None, witness: str = "sacct") -> JobObserved:
    return JobObserved(submission=0, run=1, restart=0, state=state, witness=witness, reason=reason)


@pytest.mark.parametrize(
    ("fact", "state", "reason"),
    [
        (observed("CANCELLED", "cancelled by uid 1000"), "CANCELLED", "cancelled by alice with hpcorch cancel"),
        (observed("CANCELLED", None), "CANCELLED", "cancelled by alice with hpcorch cancel"),
        (observed("CANCELLED", "cancelled by uid 0"), "CANCELLED", "cancelled by uid 0"),
        (observed("TIMEOUT", None), "TIMEOUT", None),
        (observed("FAILED", "killed", "local"), "CANCELLED", "cancelled by alice with hpcorch cancel"),
        (observed("TIMEOUT", "limit", "local"), "TIMEOUT", "limit"),
    ],
)
def test_an_end_is_put_down_to_who_asked_for_it_and_to_nobody_else(fact, state, reason):
    values: dict[str, Any] = {"submission": 0, "user": "alice", "uid": 1000, "host": "login1"}
    asked = [ControlRequested(action="cancel", runs="0-3", **values)]
    (said,) = attributed([fact], asked)
    assert (said.state, said.reason) == (state, reason)
    assert attributed([fact], [ControlRequested(action="hold", runs="0-3", **values)]) == [fact]
    assert attributed([fact], [ControlRequested(action="cancel", runs="2", **values)]) == [fact]
