"""Which array elements an action is for."""

from __future__ import annotations

from typing import Any

import pytest

from hpcorch.model.actions import Action
from hpcorch.model.entities import Run, Submission
from hpcorch.model.events import ControlRequested, JobObserved
from hpcorch.model.ids import AttemptId
from hpcorch.model.states import RunState
from hpcorch.services.actions.targets import choose, split
from hpcorch.services.observation.conclusions import attributed
from hpcorch.slurm.array_elements import elements_of
from tests.support import entities


def run(index: int, state: str, submission: int | None = 0) -> Run:
    return entities.run(index, RunState.parse(state), submission=submission)


def submission(number: int, runs: tuple[int, ...], job_id: str | None) -> Submission:
    return entities.submission(number, runs, job_id=job_id)


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
    chosen = choose(Action.CANCEL, [every[0], every[2], every[3], every[4]], every, made)
    assert [target.element for target in chosen.targets] == ["369", "370_1"]
    assert chosen.unsettled == [4]
    assert chosen.passed_over == {0: "already over (COMPLETED)"}
    held = choose(Action.HOLD, every[:4], every, made)
    assert held.runs == [2, 3]
    assert held.passed_over[1] == "not waiting (RUNNING)"


def test_a_run_that_is_over_and_whose_job_stays_can_be_cancelled_and_no_other_command_ends_its_job():
    every = [run(0, "CD"), run(1, "CD"), run(2, "R")]
    made = {0: submission(0, (0, 1, 2), "369")}
    chosen = choose(Action.CANCEL, every[:2], every, made, staying={0})
    assert [target.element for target in chosen.targets] == ["369_0"]
    assert chosen.passed_over == {1: "already over (COMPLETED)"}
    (target,) = choose(Action.CANCEL, every[2:], every, made, staying={0}).targets
    assert target.element == "369_2"
    assert choose(Action.HOLD, every[:1], every, made, staying={0}).runs == []


def test_of_a_packed_array_slurm_is_told_of_the_whole_or_of_nothing():
    every = [run(0, "R"), run(1, "R"), run(2, "SU"), run(3, "SU"), run(4, "CD")]
    made = {0: entities.submission(0, (0, 1, 2, 3, 4), job_id="369", tasks=2)}
    (whole,) = choose(Action.CANCEL, every, every, made).targets
    assert (whole.element, whole.addressee) == ("369", "369")
    (some,) = choose(Action.CANCEL, every[1:3], every, made).targets
    assert (some.runs, some.element, some.indices, some.addressee) == ((1, 2), None, [], "tasks of 369")
    inside, outside = split([whole], {0, 1})
    assert [target.element for target in (*inside, *outside)] == [None, None]


def test_what_waits_in_a_packed_array_is_held_as_a_whole_whatever_its_tasks_execute():
    every = [run(0, "R"), run(1, "PD"), run(2, "SU")]
    made = {0: entities.submission(0, (0, 1, 2), job_id="369", tasks=2)}
    held = choose(Action.HOLD, every, every, made)
    assert [target.element for target in held.targets] == ["369"]
    assert held.passed_over == {0: "not waiting (RUNNING)"}
    (some,) = choose(Action.RELEASE, every[:2], every, made).targets
    assert some.element is None


def observed(state: str, reason: str | None, witness: str = "sacct", **values: Any) -> JobObserved:
    return JobObserved(submission=0, run=1, restart=0, state=state, witness=witness, reason=reason, **values)


@pytest.mark.parametrize(
    ("fact", "state", "reason"),
    [
        (observed("CANCELLED", None, cancelled_by=1000), "CANCELLED", "cancelled by alice with hpcorch cancel"),
        (observed("CANCELLED", None), "CANCELLED", "cancelled by alice with hpcorch cancel"),
        (observed("CANCELLED", None, cancelled_by=0), "CANCELLED", "cancelled by root (uid 0)"),
        (observed("CANCELLED", None, cancelled_by=4294967), "CANCELLED", "cancelled by uid 4294967"),
        (observed("NOT_REQUEUED", "preempted"), "CANCELLED", "cancelled by alice with hpcorch cancel"),
        (observed("LEFT_OVER", "its turn never came"), "CANCELLED", "cancelled by alice with hpcorch cancel"),
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
    for action, runs in (("hold", "0-3"), ("cancel", "2")):
        (other,) = attributed([fact], [ControlRequested(action=action, runs=runs, **values)])
        assert other.state == fact.state
        assert "hpcorch" not in (other.reason or "")


@pytest.mark.parametrize(
    ("fact", "state", "asked"),
    [
        (observed("FAILED", None, exit_code=12), "FAILED", True),  # Slurm's word; the journal tells the rest
        (observed("FAILED", None, signal=12), "FAILED", True),
        (observed("FAILED", None, exit_code=1), "FAILED", False),
        (observed("FAILED", None, signal=9), "FAILED", False),
        (observed("FAILED", "exit code 140", "local", exit_code=140), "CANCELLED", True),
        (observed("FAILED", "exit code 1", "local", exit_code=1), "FAILED", False),
        (observed("NOT_REQUEUED", "preempted"), "CANCELLED", True),
        (observed("TIMEOUT", None), "TIMEOUT", False),
    ],
)
def test_only_what_heeded_a_request_to_end_after_a_checkpoint_is_put_down_to_it(fact, state, asked):
    values: dict[str, Any] = {"submission": 0, "user": "alice", "uid": 1000, "host": "login1"}
    request = ControlRequested(action="cancel", runs="1", checkpoint=True, **values)
    (said,) = attributed([fact], [request])
    assert said.state == state
    assert (said.reason == "cancelled by alice with hpcorch cancel --checkpoint") is asked


def test_what_ended_as_it_was_asked_to_is_put_down_to_the_request_whatever_killed_its_other_ranks():
    values: dict[str, Any] = {"submission": 0, "user": "alice", "uid": 1000, "host": "login1"}
    request = ControlRequested(action="cancel", runs="1", checkpoint=True, **values)
    killed = observed("FAILED", None, signal=9)
    (said,) = attributed([killed], [request], {AttemptId(run=1, submission=0, restart=0)})
    assert said.reason == "cancelled by alice with hpcorch cancel --checkpoint"
    assert attributed([killed], [request], {AttemptId(run=1, submission=0, restart=1)}) == [killed]


def test_a_run_that_slurm_gave_up_can_be_cancelled():
    given_up, never = run(0, RunState.PLANNED), run(1, RunState.PLANNED, submission=None)
    chosen = choose(Action.CANCEL, [given_up, never], [given_up, never], {0: submission(0, (0, 1), "369")})
    assert [target.runs for target in chosen.targets] == [(0,)]
    assert chosen.unsubmitted == [1]
    assert chosen.runs == [0, 1]
    assert choose(Action.HOLD, [never], [never], {}).passed_over == {1: "never submitted"}


def test_what_runs_and_what_waits_are_named_apart():
    every = [run(index, RunState.RUNNING) for index in range(4)]
    targets = choose(Action.CANCEL, every, every, {0: submission(0, (0, 1, 2, 3), "369")}).targets
    inside, outside = split(targets, {1, 3})
    assert [target.element for target in (*inside, *outside)] == ["369_[1,3]", "369_[0,2]"]
    inside, outside = split(targets, {0, 1, 2, 3})
    assert ([target.element for target in inside], outside) == (["369"], [])
