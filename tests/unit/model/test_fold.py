"""The fold from events to runs and attempts: order and repetition do not matter, and the rules of the witnesses."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcorch.journal.reader import Segment
from hpcorch.ledger import Ledger
from hpcorch.model import events as ev
from hpcorch.model.folding.evidence import RunEvidence
from hpcorch.model.folding.run import FoldedRun, fold_run
from hpcorch.model.folding.sweep import fold_submissions
from hpcorch.model.ids import AttemptId
from hpcorch.model.states import AttemptState, RunState, SubmissionState
from tests.support.events import (
    SWEEP,
    attempt,
    created,
    cut,
    intended,
    launch,
    plan_of,
    planned,
    segment,
    submitted,
    tables,
)

RUNS = 4
MEMORY = Path("/dev/shm")
FOLDER = MEMORY if MEMORY.is_dir() else None  # what is tested is the fold; waiting for a disk would cost seconds
OUTCOMES = ("completed", "failed", "refused", "stopped", "skipped", "superseded")
WORDS = ("PENDING", "RUNNING", "COMPLETED", "FAILED", "TIMEOUT", "PREEMPTED", "REQUEUED", "NODE_FAIL", "SUSPENDED")


def outcome_of(submission: int) -> st.SearchStrategy[list[ev.Fact]]:
    accepted = ev.SubmissionAccepted(submission=submission, job_id=str(100 + submission))
    unknown = ev.SubmissionUnknown(submission=submission, reason="timed out")
    rejected = ev.SubmissionRejected(submission=submission, reason="no such partition")
    released = ev.SubmissionReleased(submission=submission)
    return st.sampled_from(
        [
            [],
            [unknown],
            [rejected],
            [accepted],
            [accepted, released],
            [unknown, accepted, released],
            [unknown, rejected],
        ]
    )


@st.composite
def sweeps(draw: st.DrawFn) -> list[Segment]:
    """All sources of a sweep, each whole."""
    control: list[ev.Fact] = [created(), launch(RUNS)]
    for submission in range(draw(st.integers(0, 2))):
        runs = draw(st.sampled_from(["0-3", "1,3", "2"]))
        control += [intended(submission, runs), *draw(outcome_of(submission))]
    for _ in range(draw(st.integers(0, 5))):
        control.append(
            ev.JobObserved(
                submission=draw(st.integers(0, 1)),
                run=draw(st.integers(0, RUNS - 1)),
                restart=draw(st.integers(0, 1)),
                state=draw(st.sampled_from(WORDS)),
                witness="sacct",
                reason=draw(st.none() | st.just("Priority")),
                exit_code=draw(st.none() | st.integers(0, 2)),
            )
        )
    names = draw(st.sets(st.tuples(st.integers(0, RUNS - 1), st.integers(0, 1), st.integers(0, 1)), max_size=5))
    journals = [
        segment(str(AttemptId(run=run, submission=sub, restart=restart)), draw(journal_of(run)))
        for run, sub, restart in sorted(names)
    ]
    return [segment("control", control), *journals]


def journal_of(run: int) -> st.SearchStrategy[list[ev.Fact]]:
    """A journal's beginning, of any length but none: an attempt may die anywhere."""
    return st.builds(
        lambda outcome, length: attempt(run / 4, outcome=outcome)[:length],
        st.sampled_from(OUTCOMES),
        st.integers(1, 5),
    )


def ingested(folder: str, name: str, calls: list[list[Segment]]) -> tuple[dict[str, Any], list[Any]]:
    with Ledger.open(Path(folder) / name, write=True, create=True) as ledger:
        for segments in calls:
            ledger.ingest(SWEEP, segments, plan_of)
        return tables(ledger), ledger.check()


@settings(max_examples=40)
@given(sources=sweeps(), data=st.data())
def test_any_order_partition_and_repetition_gives_the_same_tables(
    sources: list[Segment], data: st.DataObject
) -> None:
    pieces = [
        piece
        for source in sources
        for piece in cut(
            source, data.draw(st.lists(st.integers(1, 12), max_size=3), label=f"cuts of {source.source}")
        )
    ]
    again = data.draw(st.lists(st.sampled_from(pieces), max_size=4), label="repeated")
    shuffled = data.draw(st.permutations([*pieces, *again]), label="order")
    calls = [list(piece) for piece in cut_list(shuffled, data.draw(st.integers(1, 4), label="pieces a call"))]
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        expected, _ = ingested(folder, "in-order.db", [sources])
        found, findings = ingested(folder, "any-order.db", calls)
    assert found == expected
    assert findings == []


def cut_list(items: list[Segment], size: int) -> list[list[Segment]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


@settings(max_examples=40)
@given(sources=sweeps())
def test_what_is_stored_obeys_the_state_machines(sources: list[Segment]) -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        found, _ = ingested(folder, "ledger.db", [sources])
    attempts = found["attempts"][SWEEP]
    for run in found["runs"][SWEEP]:
        own = [item for item in attempts if item.run == run.run]
        assert run.attempts == len(own)
        executed = [a for a in own if a.state not in (AttemptState.SKIPPED, AttemptState.SUPERSEDED)]
        if run.state is RunState.COMPLETED:
            assert AttemptState.COMPLETED in {item.state for item in own}, "completed without a witness of its end"
        if not executed:
            assert run.result is None
        if run.result is not None:
            # One that was claimed and not yet seeded may be about to find the end of one before it.
            last_executed = max(i for i, item in enumerate(executed) if item.seed is not None)
            told = {item.result for item in executed[last_executed:]}
            assert run.result in told, "a result of an attempt that did not win"


def evidence(*attempts: tuple[str, list[ev.Fact]], **values: Any) -> RunEvidence:
    return RunEvidence(
        planned=segment("launch-0", [planned(0)]).events[0],
        launch=0,
        attempts={AttemptId.parse(name): segment(name, facts).events for name, facts in attempts},
        **values,
    )


def observed(state: str, submission: int, restart: int = 0) -> ev.Event:
    fact = ev.JobObserved(submission=submission, run=0, restart=restart, state=state, witness="squeue")
    return segment("control", [fact], first=50 + submission).events[0]


@pytest.mark.parametrize(("submission", "state"), [(1, RunState.SUSPENDED), (0, RunState.RUNNING)])
def test_only_what_is_said_of_the_present_attempt_suspends_a_run(submission: int, state: RunState) -> None:
    said = [observed("SUSPENDED", submission)]
    folded = fold_run(evidence(("0.s0.r0", attempt()[:1]), ("0.s1.r0", attempt()[:1]), observed=said))
    assert folded.run.state is state


def submissions(*facts: ev.Fact) -> list[Any]:
    return list(fold_submissions(segment("control", facts).events).values())


def test_superseded_attempt_that_ends_late_changes_nothing() -> None:
    first, second = attempt("zombie"), attempt("winner")
    folded = fold_run(evidence(("0.s0.r0", first), ("0.s0.r1", second)))
    assert folded.run.result == "winner"
    assert [item.result for item in folded.attempts] == ["zombie", "winner"]


def test_the_first_end_of_an_attempt_is_final() -> None:
    whole = attempt(0.5)
    forged = [
        *attempt(666.0)[-1:],
        ev.CommandEnded(step=0, exit_code=0, result=666.0),
        ev.AttemptSignalled(signal="X"),
    ]
    saved = ev.CheckpointSaved(step=7, file="last", size=1, digest="sha256:0", seconds=0.1)  # by an exit hook
    once, again = (fold_run(evidence(("0.s0.r0", [*whole, *more, saved]))) for more in ((), forged))
    assert once == again
    assert (once.run.result, once.attempts[0].checkpoint_step) == (0.5, 7)


def test_attempt_that_found_the_run_ended_leaves_its_result_alone() -> None:
    skipped = attempt(None, outcome="skipped")
    folded = fold_run(evidence(("0.s0.r0", attempt(0.5)), ("0.s0.r1", skipped)))
    assert folded.run.state is RunState.COMPLETED
    assert folded.run.result == 0.5
    assert folded.run.attempts == 2


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ([intended(0, "0")], RunState.UNCERTAIN),
        ([intended(0, "0"), ev.SubmissionUnknown(submission=0, reason="timed out")], RunState.UNCERTAIN),
        (submitted(0, "0"), RunState.SUBMITTED),
        ([intended(0, "0"), ev.SubmissionRejected(submission=0, reason="no")], RunState.PLANNED),
    ],
)
def test_run_that_never_started_is_what_its_submission_is(facts: list[ev.Fact], state: RunState) -> None:
    folded = fold_run(evidence(submissions=submissions(*facts)))
    assert folded.run.state is state


def test_submission_settled_after_a_time_out_is_no_longer_unknown() -> None:
    (found,) = submissions(
        intended(0, "0-4"),
        ev.SubmissionUnknown(submission=0, reason="timed out"),
        ev.SubmissionAccepted(submission=0, job_id="12"),
    )
    assert found.state is SubmissionState.ACCEPTED
    assert found.reason is None


@pytest.mark.parametrize("runs", ["0-4", "4,0", "2,0,3"])
def test_job_id_names_the_array_element_of_the_run(runs: str) -> None:
    place = {"0-4": 0, "4,0": 1, "2,0,3": 1}[runs]
    folded = fold_run(evidence(submissions=submissions(*submitted(0, runs, job_id="12"))))
    assert folded.run.job_id == f"12_{place}"


@pytest.mark.parametrize("kind", sorted(ev.KINDS))
def test_fact_of_a_newer_version_survives_being_read(kind: str) -> None:
    body = {"from_the_future": 1}
    fact = ev.from_body(f"{kind}-2", body)
    assert isinstance(fact, ev.UnknownFact)
    assert (ev.kind_of(fact), ev.to_body(fact)) == (f"{kind}-2", body)


# The table of witnesses: what the journal says x what Slurm says -> what became of attempt and run.
# "later" is an attempt that waits or runs again, of which Slurm speaks after the word in the row.
SLURM_ENDS = {
    "FAILED": (AttemptState.FAILED, RunState.FAILED),
    "TIMEOUT": (AttemptState.TIMEOUT, RunState.TIMEOUT),
    "DEADLINE": (AttemptState.DEADLINE, RunState.TIMEOUT),
    "OUT_OF_MEMORY": (AttemptState.OUT_OF_MEMORY, RunState.OUT_OF_MEMORY),
    "CANCELLED": (AttemptState.CANCELLED, RunState.CANCELLED),
    "NODE_FAIL": (AttemptState.NODE_FAIL, RunState.NODE_FAIL),
    "BOOT_FAIL": (AttemptState.BOOT_FAIL, RunState.NODE_FAIL),
    "PREEMPTED": (AttemptState.PREEMPTED, RunState.PENDING),
    "REQUEUED": (AttemptState.REQUEUED, RunState.PENDING),
    "COMPLETED": (AttemptState.LOST, RunState.LOST),
    "LOST": (AttemptState.LOST, RunState.LOST),
}
JOURNAL_ENDS = {
    "completed": (AttemptState.COMPLETED, RunState.COMPLETED),
    "failed": (AttemptState.FAILED, RunState.FAILED),
    "refused": (AttemptState.REFUSED, RunState.FAILED),
}
JOURNALS = {
    **{outcome: attempt(outcome=outcome, result=None) for outcome in (*JOURNAL_ENDS, "stopped")},
    "nothing": [fact for fact in attempt()[:-1] if not isinstance(fact, ev.AttemptCalled)],
    "called": attempt()[:-1],
}


def witnesses(journal: str, *slurm: ev.JobObserved) -> FoldedRun:
    said = segment("control", slurm, first=10).events
    return fold_run(
        evidence(("0.s0.r0", JOURNALS[journal]), observed=said, submissions=submissions(*submitted(0, "0")))
    )


def word(state: str, restart: int = 0) -> ev.JobObserved:
    return ev.JobObserved(submission=0, run=0, restart=restart, state=state, witness="squeue")


@pytest.mark.parametrize("slurm", SLURM_ENDS)
@pytest.mark.parametrize("journal", JOURNALS)
def test_the_journal_says_what_the_task_did_and_slurm_what_it_could_not_say(journal: str, slurm: str) -> None:
    folded = witnesses(journal, word(slurm))
    expected = JOURNAL_ENDS.get(journal, SLURM_ENDS[slurm])
    if journal == "failed" and slurm in ("PREEMPTED", "OUT_OF_MEMORY"):
        expected = SLURM_ENDS[slurm]  # what it raised came of that
    if (journal, slurm) == ("stopped", "COMPLETED"):  # a command in a job that went on
        expected = (AttemptState.FAILED, RunState.FAILED)
    if (journal, slurm) == ("called", "COMPLETED"):  # by os._exit(0)
        expected = (AttemptState.COMPLETED, RunState.COMPLETED)
    assert (folded.attempts[0].state, folded.run.state) == expected
    assert folded.attempts[0].slurm_state == slurm


def test_a_run_whose_process_left_with_exit_code_0_has_completed_without_a_result() -> None:
    run = witnesses("called", word("COMPLETED")).run
    assert (run.state, run.result) == (RunState.COMPLETED, None)
    assert "os._exit" in (run.reason or "")


def test_who_was_told_to_end_and_left_with_exit_code_0_may_not_have_completed() -> None:
    told = [*attempt()[:-1], ev.AttemptSignalled(signal="SIGUSR1")]
    said = segment("control", [word("COMPLETED")], first=10).events
    folded = fold_run(evidence(("0.s0.r0", told), observed=said, submissions=submissions(*submitted(0, "0"))))
    assert folded.run.state is RunState.LOST


@pytest.mark.parametrize(
    ("journal", "state", "reason"),
    [
        ("completed", RunState.COMPLETED, "its job still runs: `hpcorch cancel"),
        ("failed", RunState.FAILED, "its job still runs: `hpcorch cancel"),
        ("stopped", RunState.RUNNING, "and its job has not ended yet"),
    ],
)
def test_a_job_that_stays_when_the_work_is_over_is_told_of(journal: str, state: RunState, reason: str) -> None:
    folded = witnesses(journal, word("LINGERING"))
    assert folded.run.state is state
    assert reason in (folded.run.reason or "")
    assert folded.attempts[0].slurm_state is None
    over = witnesses(journal, word("LINGERING"), word("CANCELLED")).run
    assert "still runs" not in (over.reason or "")


def cancelled(run: str = "0", submission: int = 0, *, checkpoint: bool = False) -> ev.ControlRequested:
    return ev.ControlRequested(
        submission=submission, action="cancel", runs=run, user="alice", uid=1, host="login1", checkpoint=checkpoint
    )


@pytest.mark.parametrize(
    ("asked", "said", "state"),
    [
        (cancelled("0-3"), [], RunState.CANCELLING),
        (cancelled(checkpoint=True), ["RUNNING"], RunState.CANCELLING),
        (cancelled("1"), ["RUNNING"], RunState.RUNNING),
        (cancelled(submission=1), ["RUNNING"], RunState.RUNNING),
        (cancelled(), ["CANCELLED"], RunState.CANCELLED),
        (cancelled(), ["COMPLETED"], RunState.CANCELLED),
        (cancelled(), ["TIMEOUT"], RunState.TIMEOUT),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_a_run_that_somebody_asked_to_cancel_is_cancelling_until_it_ends(
    asked: ev.ControlRequested, said: list[str], state: RunState
) -> None:
    told = segment("control", [word(one) for one in said], first=10).events
    found = submissions(*submitted(0, "0-3"), asked)
    folded = fold_run(evidence(("0.s0.r0", JOURNALS["called"]), observed=told, submissions=found))
    assert folded.run.state is state
    if state is RunState.CANCELLING:
        assert "by alice with hpcorch cancel" in (folded.run.reason or "")


def test_who_requeues_a_cancelled_run_wants_it_to_run() -> None:
    told = segment("control", [word("CANCELLED"), word("PENDING", restart=1)], first=10).events
    found = submissions(*submitted(0, "0"), cancelled())
    folded = fold_run(evidence(("0.s0.r0", JOURNALS["called"]), observed=told, submissions=found))
    assert folded.run.state is RunState.PENDING


@pytest.mark.parametrize("early", ["PENDING", "RUNNING"])
def test_what_slurm_said_before_an_attempt_was_over_is_not_shown_beside_its_end(early: str) -> None:
    assert witnesses("completed", word(early)).attempts[0].slurm_state is None


@pytest.mark.parametrize("slurm", ["RUNNING", "PENDING", "UNKNOWN", "DREAMING", "FORGOTTEN"])
@pytest.mark.parametrize(
    ("journal", "state"),
    [
        ("completed", RunState.COMPLETED),
        ("failed", RunState.FAILED),
        ("stopped", RunState.UNCERTAIN),
        ("nothing", RunState.RUNNING),
        ("called", RunState.RUNNING),
    ],
)
def test_a_word_that_is_no_end_leaves_the_journals_word(journal: str, slurm: str, state: RunState) -> None:
    assert witnesses(journal, word(slurm)).run.state is state


@pytest.mark.parametrize("slurm", ["PENDING", "RUNNING", "CANCELLED", "NODE_FAIL", "FORGOTTEN"])
@pytest.mark.parametrize("journal", JOURNALS)
def test_back_in_the_queue_the_next_attempt_says_where_the_run_stands(journal: str, slurm: str) -> None:
    states = {"FORGOTTEN": RunState.UNCERTAIN}
    expected = RunState.COMPLETED if journal == "completed" else states.get(slurm) or RunState[slurm]
    assert witnesses(journal, word("REQUEUED"), word(slurm, restart=1)).run.state is expected


@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("slurm", [None, "RUNNING", "NODE_FAIL", "CANCELLED"])
def test_a_completed_run_stays_completed_whatever_becomes_of_a_second_start(length: int, slurm: str | None) -> None:
    """It would have found the first one's end, had it lived to look."""
    said = segment("control", [word(slurm, restart=1)] if slurm else []).events
    second = attempt(None)[:length]
    folded = fold_run(evidence(("0.s0.r0", attempt(0.5)), ("0.s0.r1", second), observed=said))
    assert (folded.run.state, folded.run.result) == (RunState.COMPLETED, 0.5)


def test_a_second_start_that_did_execute_decides() -> None:
    """On a node that did not see the first one's end: its files are the newer ones."""
    folded = fold_run(evidence(("0.s0.r0", attempt("first")), ("0.s0.r1", attempt("second"))))
    assert folded.run.result == "second"
    folded = fold_run(evidence(("0.s0.r0", attempt("first")), ("0.s0.r1", attempt()[:4])))
    assert folded.run.state is RunState.RUNNING


@pytest.mark.parametrize("facts", [submitted(1, "0"), [intended(1, "0")]])
def test_a_run_that_completed_late_is_completed_although_it_was_submitted_again(facts: list[ev.Fact]) -> None:
    both = submissions(*submitted(0, "0"), *facts)
    folded = fold_run(evidence(("0.s0.r0", attempt(0.5)), submissions=both))
    assert (folded.run.state, folded.run.result) == (RunState.COMPLETED, 0.5)
    failed = evidence(("0.s0.r0", JOURNALS["failed"]), submissions=both)
    assert fold_run(failed).run.state is not RunState.FAILED


@pytest.mark.parametrize("journal", ["nothing", "stopped"])
def test_an_attempt_that_slurm_started_again_was_requeued(journal: str) -> None:
    first, second = fold_run(
        evidence(("0.s0.r0", JOURNALS[journal]), ("0.s0.r1", attempt()), submissions=submissions())
    ).attempts
    assert (first.state, second.state) == (AttemptState.REQUEUED, AttemptState.COMPLETED)


def test_slurms_own_word_on_an_attempt_that_was_started_again_counts() -> None:
    said = segment("control", [word("PREEMPTED")]).events
    folded = fold_run(evidence(("0.s0.r0", JOURNALS["stopped"]), ("0.s0.r1", attempt()), observed=said))
    assert folded.attempts[0].state is AttemptState.PREEMPTED


@pytest.mark.parametrize("journal", ["nothing", "stopped"])
def test_a_run_that_slurm_does_not_requeue_is_not_with_slurm_any_more(journal: str) -> None:
    given_up = replace(word("NOT_REQUEUED", restart=1), reason="Slurm does not requeue")
    folded = witnesses(journal, word("PREEMPTED"), given_up)
    assert folded.attempts[0].state is AttemptState.PREEMPTED
    assert (folded.run.state, folded.run.reason) == (RunState.PLANNED, "Slurm does not requeue")
    assert folded.run.submission == 0
    again = witnesses(journal, word("PREEMPTED"), given_up, word("PENDING", restart=1))
    assert again.run.state is RunState.PENDING


@pytest.mark.parametrize(
    ("name", "slurm", "state"),
    [
        ("SIGTERM", "PREEMPTED", AttemptState.PREEMPTED),
        ("SIGUSR1", "REQUEUED", AttemptState.REQUEUED),
        ("SIGUSR1", "FAILED", AttemptState.TIMEOUT),
        ("SIGUSR2", "FAILED", AttemptState.CANCELLED),
        ("SIGTERM", "FAILED", AttemptState.FAILED),
    ],
)
def test_what_stopped_an_attempt_and_what_slurm_says_tell_why(name: str, slurm: str, state: AttemptState) -> None:
    stop = ev.AttemptEnded(outcome="stopped", exit_code=140, signal=name)
    said = segment("control", [word(slurm)], first=10).events
    (found,) = fold_run(evidence(("0.s0.r0", [*attempt()[:-1], stop]), observed=said)).attempts
    assert (found.state, found.signal, found.exit_code) == (state, name, 140)
    assert found.reason


@pytest.mark.parametrize(
    ("slurm", "state"),
    [
        ([], RunState.RUNNING),
        ([word("RUNNING")], RunState.RUNNING),
        ([word("FORGOTTEN")], RunState.UNCERTAIN),
        ([word("REQUEUED"), word("PENDING", restart=1)], RunState.PENDING),
        ([word("FAILED")], RunState.TIMEOUT),
    ],
)
def test_a_run_that_stopped_near_its_time_limit_is_there_until_slurm_says_what_became_of_it(
    slurm: list[ev.JobObserved], state: RunState
) -> None:
    stop = ev.AttemptEnded(outcome="stopped", exit_code=138, signal="SIGUSR1")
    said = segment("control", slurm, first=10).events
    folded = fold_run(
        evidence(("0.s0.r0", [*attempt()[:-1], stop]), observed=said, submissions=submissions(*submitted(0, "0")))
    )
    assert folded.run.state is state
    assert ("its job has not ended yet" in (folded.run.reason or "")) is (state is RunState.RUNNING)


def test_a_run_that_never_claimed_tells_why_by_slurms_word_alone() -> None:
    killed = replace(word("FAILED"), signal=9)
    folded = fold_run(
        evidence(
            observed=segment("control", [killed], first=10).events, submissions=submissions(*submitted(0, "0"))
        )
    )
    assert folded.run.state is RunState.FAILED
    assert (folded.run.reason or "").startswith("killed by SIGKILL")


RANKS = [ev.AttemptClaimed(host="n1", pid=1, tasks=4), ev.AttemptEnded(outcome="completed", exit_code=0, result=7)]


@pytest.mark.parametrize(
    ("slurm", "state"),
    [
        ([], RunState.RUNNING),
        ([word("RUNNING")], RunState.RUNNING),
        ([word("COMPLETED")], RunState.COMPLETED),
        ([word("LOST")], RunState.COMPLETED),
        ([word("FAILED")], RunState.FAILED),
        ([word("OUT_OF_MEMORY")], RunState.OUT_OF_MEMORY),
        ([word("PREEMPTED")], RunState.PENDING),
    ],
)
def test_a_run_of_several_ranks_completes_when_slurm_says_that_all_did(
    slurm: list[ev.JobObserved], state: RunState
) -> None:
    said = segment("control", slurm, first=10).events
    folded = fold_run(evidence(("0.s0.r0", RANKS), observed=said, submissions=submissions(*submitted(0, "0"))))
    assert folded.run.state is state
