"""What is decided about a sweep: which runs go to Slurm again, when, and what nobody may call over."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcorch import tunables
from hpcorch.errors import UsageError
from hpcorch.journal.control import ControlHistory
from hpcorch.ledger import Ledger
from hpcorch.model.entities import Attempt, Launch, Submission, Sweep
from hpcorch.model.events import ControlRequested
from hpcorch.model.failure_classes import FailureClass
from hpcorch.model.ids import format_time
from hpcorch.model.job_states import JobState
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.retry_budget import RetryBudget, retry_wait_s
from hpcorch.model.states import NOT_FINE, AttemptState, Backend, RunState, SubmissionState
from hpcorch.model.values import FrozenMapping
from hpcorch.services.tending.due import Keep, Resubmit, awaited, decide
from hpcorch.services.tending.keeper_submission import keeper_keys, launches_to_keep
from hpcorch.services.tending.sweep_state import SweepState
from hpcorch.services.tending.unsubmitted import retries_to_come
from hpcorch.slurm.answers.scontrol import ClusterConfig, Partition, parse_config, parse_partitions
from tests.support import entities
from tests.support.paths import DATA
from tests.support.sweeps import make_sweep

BEGINNING = datetime(2026, 1, 1, tzinfo=timezone.utc)
LET_GO = "NOT_REQUEUED"
LEFT_OVER = "LEFT_OVER"  # by a packed array
ENDS = ("FAILED", "OUT_OF_MEMORY", "TIMEOUT", "NODE_FAIL", "LOST", "CANCELLED", "COMPLETED", LET_GO)
SWEEP = Sweep(
    id="s", name="n", backend=Backend.SLURM, directory="/d", project="/p", user="u", host="h", cwd="/", argv=(),
    root_seed=1, sweeper="b", created_at=format_time(BEGINNING),
)  # fmt: skip


@dataclass
class World:
    """A sweep whose runs end as a test says, and a Slurm that takes or refuses what is decided."""

    runs: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    backend: Backend = Backend.SLURM
    clock: float = 0.0
    submissions: dict[int, Submission] = field(default_factory=dict)
    ends: dict[int, dict[int, Attempt]] = field(default_factory=dict)
    states: dict[int, RunState] = field(default_factory=dict)
    let_go: dict[tuple[int, int], JobState] = field(default_factory=dict)
    requests: list[ControlRequested] = field(default_factory=list)
    changed: dict[int, dict[str, Any]] = field(default_factory=dict)
    abandoned: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self.submit(tuple(range(self.runs)))

    @property
    def now(self) -> str:
        return format_time(BEGINNING + timedelta(seconds=self.clock))

    def submit(self, runs: tuple[int, ...], *, refused: bool = False) -> None:
        number = len(self.submissions)
        state = SubmissionState.REJECTED if refused else SubmissionState.RELEASED
        self.submissions[number] = entities.submission(
            number, runs, backend=self.backend, job_id="1", intended_at=self.now, state=state
        )
        if not refused:
            for run in runs:
                assert self.states.get(run, RunState.PLANNED) not in (RunState.RUNNING, RunState.COMPLETED)
                self.states[run] = RunState.RUNNING

    def latest(self, run: int) -> int:
        taken = SubmissionState.RELEASED
        return max(n for n, one in self.submissions.items() if run in one.runs and one.state is taken)

    def end(self, run: int, how: str) -> None:
        number = self.latest(run)
        if how in (LET_GO, LEFT_OVER):
            self.states[run] = RunState.PLANNED
            self.let_go[run, number] = JobState(how)
            return
        self.states[run] = RunState(how)
        ended = entities.attempt(run, AttemptState(how), submission=number, ended_at=self.now)
        self.ends.setdefault(run, {})[number] = ended

    def state(self) -> SweepState:
        return SweepState(
            sweep=replace(SWEEP, backend=self.backend),
            keys={0: LaunchKeys.recorded(self.options)},
            history=ControlHistory(
                submissions=dict(self.submissions), observed={}, requests=self.requests, changed=self.changed
            ),
            runs=[entities.run(run, state) for run, state in self.states.items() if state in CONCERNED],
            ends={run: dict(ends) for run, ends in self.ends.items()},
            now=self.now,
            let_go=dict(self.let_go),
            abandoned=self.abandoned,
        )

    def launch(self) -> Launch:
        return Launch(
            sweep="s", first_run=0, count=self.runs, manifest="m", manifest_digest="", task_digest="",
            options=self.options, planned_at=self.now,
        )  # fmt: skip

    def tend(self, *, refused: bool = False) -> list[Resubmit]:
        done = [action for action in decide(self.state()) if isinstance(action, Resubmit)]
        for action in done:
            self.submit(action.runs, refused=refused)
        return done

    def failed(self, *, refused: bool = False) -> list[Resubmit]:
        """Run 0 fails, and somebody comes by when time has passed."""
        self.end(0, "FAILED")
        self.clock += tunables.RETRY_GROUPING_S
        return self.tend(refused=refused)


CONCERNED = NOT_FINE | {RunState.PLANNED}


STEPS = st.tuples(st.integers(0, 3), st.sampled_from(ENDS), st.floats(0, 200), st.booleans())
BUDGETS = st.one_of(
    st.integers(0, 3), st.dictionaries(st.sampled_from([one.value for one in FailureClass]), st.integers(0, 3))
)


@given(budget=BUDGETS, steps=st.lists(STEPS, max_size=60))
def test_whatever_happens_no_run_is_submitted_twice_and_no_budget_is_exceeded(budget, steps) -> None:
    """(World.submit asserts that a run that is alive, or completed, is never submitted.)"""
    world = World(runs=4, options={"max_retries": budget})
    for run, how, seconds, refused in steps:
        if world.states[run] is RunState.RUNNING:
            world.end(run, how)
        world.clock += seconds
        before = world.state()
        assert decide(before) == decide(before)
        tended = world.tend(refused=refused)
        runs = [run for action in tended for run in action.runs]
        assert set(runs) <= awaited(before).keys()
        assert max(Counter(runs).values(), default=1) == 1
        assert not decide(world.state()), "what was done is not done again"
    allowed = RetryBudget.parse(budget)
    for run, ends in world.ends.items():
        counts = Counter(end.state.value for end in ends.values())
        for failure in FailureClass:
            assert counts[failure.value] <= allowed.of(failure) + 1, f"run {run}"


@given(ends=st.lists(st.sampled_from(ENDS), min_size=1, max_size=12))
def test_what_is_awaited_is_what_somebody_who_comes_by_in_time_submits(ends) -> None:
    world = World(options={"max_retries": 2})
    for how in ends:
        world.end(0, how)
        waits = awaited(world.state())
        world.clock += 10 * tunables.RETRY_LONGEST_WAIT_S
        submitted = {run for action in world.tend() for run in action.runs}
        assert submitted == waits.keys()
        if not waits:
            return


def test_a_failure_is_not_over_while_a_retry_is_left_and_is_when_none_is() -> None:
    world = World(options={"max_retries": 2})
    for number in (1, 2):
        (action,) = world.failed()
        assert action.reason == f"retry {number} of 2 after FAILED"
    world.end(0, "FAILED")
    assert awaited(world.state()) == {}


def test_waits_double_with_jitter_and_are_counted_from_the_end_of_the_try_before() -> None:
    world = World(options={"max_retries": 9})
    waits = [world.failed()[0].wait_s + tunables.RETRY_GROUPING_S for _ in range(4)]
    for number, wait in enumerate(waits):
        grown = tunables.RETRY_FIRST_WAIT_S * 2**number
        assert grown <= wait <= grown * (1 + tunables.RETRY_JITTER) + 1
    assert retry_wait_s("s", 0, 99) <= tunables.RETRY_LONGEST_WAIT_S * (1 + tunables.RETRY_JITTER)
    assert retry_wait_s("s", 0, 1) == retry_wait_s("s", 0, 1) != retry_wait_s("s", 1, 1)


def test_each_class_of_failure_has_a_budget_of_its_own() -> None:
    world = World(options={"max_retries": {"NODE_FAIL": 1, "OUT_OF_MEMORY": 0}})
    world.end(0, "NODE_FAIL")
    assert len(world.tend()) == 1
    world.end(0, "OUT_OF_MEMORY")
    assert awaited(world.state()) == {}


def test_a_preempted_run_comes_back_without_limit_and_without_waiting() -> None:
    world = World()
    for _ in range(20):
        world.end(0, LET_GO)
        world.clock += tunables.RETRY_GROUPING_S
        (action,) = world.tend()
        assert action.reason.startswith("preempted")
        assert action.wait_s == 0


@pytest.mark.parametrize("flags", [{"no-requeue": True}, {"no_requeue": True}, {"requeue": False}])
def test_a_preempted_run_stays_ended_where_the_user_wants_no_requeue(flags) -> None:
    world = World(options={"additional_parameters": flags})
    world.end(0, LET_GO)
    assert decide(world.state()) == []
    assert awaited(world.state()) == {}


@pytest.mark.parametrize("flags", [{}, {"no-requeue": True}])
def test_what_a_packed_array_left_over_is_submitted_again_whatever_the_user_wants_of_requeues(flags) -> None:
    world = World(runs=2, options={"additional_parameters": flags})
    world.end(0, LEFT_OVER)
    world.clock += tunables.RETRY_GROUPING_S
    (action,) = world.tend()
    assert (action.runs, action.wait_s, action.reason) == (
        (0,),
        0,
        "no task of the array before came to them in time",
    )


def test_what_somebody_cancelled_stays_cancelled() -> None:
    world = World(runs=2, options={"max_retries": 5})
    world.end(0, "FAILED")
    world.end(1, LET_GO)
    world.requests.append(ControlRequested(submission=0, action="cancel", runs="0-1", user="u", uid=1, host="h"))
    assert awaited(world.state()) == {}


def test_runs_that_failed_for_one_reason_share_an_array_and_it_waits_for_the_last() -> None:
    world = World(runs=4, options={"max_retries": 1})
    for run in range(3):
        world.end(run, "FAILED")
        world.clock += 1
    world.end(3, LET_GO)
    first, second = sorted(world.tend(), key=lambda action: action.runs)
    assert (first.runs, second.runs) == ((0, 1, 2), (3,))
    assert first.wait_s > 0
    assert second.wait_s == 0


def test_runs_that_fail_one_after_the_other_are_gathered() -> None:
    world = World(runs=2, options={"max_retries": 1})
    world.end(0, "FAILED")
    assert len(world.tend()) == 1
    world.end(1, "FAILED")
    world.clock += 1
    assert world.tend() == []
    assert awaited(world.state()).keys() == {1}
    world.clock += tunables.RETRY_GROUPING_S
    assert len(world.tend()) == 1


def test_a_retry_keeps_what_was_changed_by_hand() -> None:
    world = World(options={"max_retries": {"NODE_FAIL": 1}, "mem_gb": 1})
    world.end(0, "OUT_OF_MEMORY")
    world.submit((0,))  # hpcorch retry --set mem_gb=8
    world.changed[1] = {"mem_gb": 8}
    world.end(0, "NODE_FAIL")
    world.clock += tunables.RETRY_GROUPING_S
    (action,) = world.tend()
    assert action.keys == LaunchKeys.parse({**world.options, "mem_gb": 8})


def test_a_refused_submission_is_tried_later_and_later_and_then_left_to_a_person() -> None:
    world = World(options={"max_retries": 1})
    world.failed(refused=True)
    tries = 1
    for _ in range(1000):
        world.clock += 1
        tries += len(world.tend(refused=True))
    assert tries == tunables.MAX_REFUSALS
    assert awaited(world.state()) == {}


def test_a_local_sweep_is_awaited_while_its_pool_lives_and_is_nothing_for_slurm() -> None:
    world = World(backend=Backend.LOCAL, options={"max_retries": 1})
    world.end(0, "FAILED")
    assert awaited(world.state()).keys() == {0}
    assert decide(world.state()) == []
    world.abandoned = frozenset({0})
    assert awaited(world.state()) == {}


@pytest.mark.parametrize("value", [-1, True, 1.5, "often", [2], {"NODE_FAIL": -1}, {"NODE_FAIL": "x"}])
def test_a_wrong_budget_is_refused_with_a_sentence(value) -> None:
    with pytest.raises(UsageError, match="max_retries"):
        RetryBudget.parse(value)


def test_a_misspelt_class_is_named() -> None:
    with pytest.raises(UsageError, match="did you mean NODE_FAIL"):
        RetryBudget.parse({"NODE_FAILED": 1})


def test_submissions_without_a_keeper_get_one() -> None:
    state = replace(World().state(), unkept={3: [0], 1: [1]})
    assert decide(state) == [Keep(submission=1), Keep(submission=3)]


class Asked:
    """A cluster with two partitions."""

    def config(self) -> ClusterConfig:
        return parse_config("PreemptType = preempt/partition_prio\n")

    def partitions(self) -> list[Partition]:
        lines = ("PartitionName=normal Default=YES PreemptMode=REQUEUE", "PartitionName=cheap PreemptMode=CANCEL")
        return parse_partitions("\n".join(lines))


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, False),
        ({"max_retries": 1}, True),
        ({"max_retries": {"LOST": 0}}, False),
        ({"partition": "cheap"}, True),
        ({"partition": "normal,cheap"}, True),
        ({"partition": "normal"}, False),
        ({"partition": "normal", "additional_parameters": {"partition": "cheap"}}, True),
        ({"partition": "cheap", "keeper": False}, False),
        ({"max_retries": 1, "keeper": False}, False),
        ({"keeper": True}, True),
    ],
)
def test_a_keeper_is_there_only_where_it_is_needed_or_asked_for(options, kept) -> None:
    launch = World(options=options).launch()
    assert launches_to_keep([launch], World(options=options).state().history, Asked()) == (
        {0} if kept else frozenset()
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "kept"), [(2, False), (3, True)])
def test_a_sweep_of_several_arrays_has_keepers_while_runs_wait_to_be_submitted(count, kept) -> None:
    world = World(runs=2)
    launch, history = replace(world.launch(), count=count), replace(world.state().history, feeding={0: None})
    assert launches_to_keep([launch], history, Asked()) == ({0} if kept else frozenset())  # type: ignore[arg-type]


def test_a_keeper_asks_for_nothing_but_a_place_to_run() -> None:
    array = LaunchKeys(
        name="train", partition="p", qos="q", account="a", reservation="r", mem_gb=64, gpus_per_node=8, nodes=2,
        licenses=FrozenMapping({"scratch": 1}), gres="gpu:1", cpus_per_task=16, timeout_min=600, nodelist="n1",
        dependency="singleton", additional_parameters=FrozenMapping({"wckey": "w", "mail-type": "END"}),
    )  # fmt: skip
    asked = keeper_keys(array, after="7")
    assert asked == LaunchKeys(
        name="train-keeper", partition="p", qos="q", account="a", reservation="r", mem_gb=0.5, timeout_min=30,
        dependency="afterany:7", additional_parameters=FrozenMapping({"wckey": "w", "signal": None}),
    )  # fmt: skip
    assert keeper_keys(replace(array, mem_gb=None), after="7").mem_gb is None


@pytest.mark.parametrize("release", ["22.05", "24.11", "26.05"])
def test_what_partitions_do_with_preempted_jobs_is_read_alike_from_every_release(release) -> None:
    text = (DATA / "slurm" / release / "partitions.txt").read_text()
    modes = {one.name: one.preempt_mode for one in parse_partitions(text)}
    assert modes == {"normal": "REQUEUE", "preempt": "REQUEUE", "cancelp": "CANCEL", "urgent": "REQUEUE"}


@pytest.mark.parametrize(("kind", "preempts"), [("preempt/partition_prio", True), ("preempt/none", False)])
def test_a_cluster_without_preemption_is_not_asked_about_it(kind, preempts) -> None:
    text = f"ClusterName = c\nPreemptMode             = CANCEL\nPreemptType             = {kind}\n"
    assert parse_config(text).preempts is preempts


def test_a_ledger_that_is_behind_does_not_call_over_what_was_just_submitted_again(tmp_path) -> None:
    sweep = make_sweep(tmp_path, [["x=1"]], options={"max_retries": 1}, backend=Backend.SLURM)
    sweep.submit([0], job_id="7", backend=Backend.SLURM)
    sweep.start(0).end(error="OSError: full")
    sweep.ingest()
    sweep.submit([0], job_id="8", backend=Backend.SLURM, number=1)  # by somebody else, since we looked
    with Ledger.open(sweep.ledger_path) as ledger:
        assert retries_to_come(ledger, sweep.id).keys() == {0}
    sweep.ingest()
    with Ledger.open(sweep.ledger_path) as ledger:
        assert retries_to_come(ledger, sweep.id) == {}
        assert ledger.runs(sweep.id)[0].state is RunState.SUBMITTED
