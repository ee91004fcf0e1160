"""Why an attempt stopped: one case for each row of the table, and for what must not be told as one of them."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from hpcorch.model.events import JobObserved
from hpcorch.model.failure_classes import FailureClass, failure_class
from hpcorch.model.folding.stop_rules import RULES, Journal
from hpcorch.model.folding.stops import find_rule, judge, killed_by
from hpcorch.model.processes import signal_name
from hpcorch.model.states import AttemptState
from tests.support import entities

KILLED, TERMINATED, CRASHED = signal.SIGKILL.value, signal.SIGTERM.value, signal.SIGSEGV.value
OPEN = tuple(journal for journal in Journal if journal is not Journal.FAILED)
NOT_LED = tuple(journal for journal in OPEN if journal is not Journal.LED)


def said(state: str, **values: Any) -> JobObserved:
    return JobObserved(**{"submission": 0, "run": 0, "restart": 0, "state": state, "witness": "sacct", **values})


# What the journal may say, what Slurm says, how the attempt ended, words of the reason.
CASES: list[tuple[tuple[Journal, ...], JobObserved, AttemptState, str]] = [
    (NOT_LED[:2], said("PREEMPTED"), AttemptState.PREEMPTED, "preempted: a job with precedence took its place"),
    (tuple(Journal), said("PREEMPTED"), AttemptState.PREEMPTED, "preempted"),
    ((Journal.FAILED,), said("PREEMPTED"), AttemptState.PREEMPTED, "it failed, and Slurm records it as preempted"),
    ((Journal.ASKED,), said("PREEMPTED"), AttemptState.PREEMPTED, "which it did; Slurm records it as preempted"),
    ((Journal.WARNED,), said("REQUEUED"), AttemptState.REQUEUED, "by hpcorch near its time limit"),
    (NOT_LED[:2], said("REQUEUED"), AttemptState.REQUEUED, "by hand, or by the site"),
    (
        NOT_LED[:2],
        said("REQUEUED", witness="squeue"),
        AttemptState.REQUEUED,
        "requeued; Slurm has not reported why yet",
    ),
    (
        (Journal.WARNED,),
        said("REQUEUED", witness="squeue"),
        AttemptState.REQUEUED,
        "by hpcorch near its time limit",
    ),
    (NOT_LED[:2], said("REQUEUED", witness="squeue", preempted=True), AttemptState.PREEMPTED, "preempted: a job"),
    (OPEN, said("NODE_FAIL"), AttemptState.NODE_FAIL, "its node failed"),
    (OPEN, said("BOOT_FAIL"), AttemptState.BOOT_FAIL, "did not boot"),
    (OPEN, said("CANCELLED"), AttemptState.CANCELLED, "cancelled"),
    (
        OPEN,
        said("CANCELLED", reason="cancelled by bob (uid 7)"),
        AttemptState.CANCELLED,
        "cancelled by bob (uid 7)",
    ),
    (tuple(Journal), said("OUT_OF_MEMORY", exit_code=0, signal=125), AttemptState.OUT_OF_MEMORY, "more memory"),
    (OPEN, said("FAILED", signal=KILLED, over_memory=True), AttemptState.OUT_OF_MEMORY, "(see its log)"),
    ((Journal.ASKED,), said("FAILED", exit_code=12), AttemptState.CANCELLED, "which it did"),
    ((Journal.ASKED,), said("COMPLETED", exit_code=0), AttemptState.CANCELLED, "which it did"),
    ((Journal.ASKED,), said("LOST"), AttemptState.CANCELLED, "which it did"),
    ((Journal.ASKED,), said("FAILED", reason="cancelled by a"), AttemptState.CANCELLED, "cancelled by a"),
    ((Journal.NOTHING,), said("FAILED", signal=12), AttemptState.CANCELLED, "did not handle that signal yet"),
    ((Journal.NOTHING,), said("FAILED", signal=10), AttemptState.TIMEOUT, "the warning before its time limit"),
    ((Journal.NOTHING, Journal.STOPPED, Journal.WARNED), said("TIMEOUT"), AttemptState.TIMEOUT, "its time limit"),
    (OPEN, said("DEADLINE"), AttemptState.DEADLINE, "the deadline"),
    (
        (Journal.WARNED,),
        said("FAILED", exit_code=10),
        AttemptState.TIMEOUT,
        "near its time limit, and not requeued",
    ),
    (
        (Journal.STOPPED,),
        said("FAILED", exit_code=15),
        AttemptState.FAILED,
        "stopped by SIGTERM, which Slurm did not",
    ),
    (
        (Journal.NOTHING, Journal.LED),
        said("FAILED", signal=KILLED),
        AttemptState.FAILED,
        "killed by SIGKILL: by its",
    ),
    (
        (Journal.NOTHING,),
        said("FAILED", signal=KILLED, over_memory=False),
        AttemptState.FAILED,
        "killed by SIGKILL",
    ),
    ((Journal.NOTHING,), said("FAILED", exit_code=137), AttemptState.FAILED, "killed by SIGKILL"),
    ((Journal.NOTHING,), said("FAILED", signal=CRASHED), AttemptState.FAILED, "crashed in native code: SIGSEGV"),
    (
        (Journal.NOTHING,),
        said("FAILED", signal=TERMINATED),
        AttemptState.FAILED,
        "killed by SIGTERM, which Slurm did",
    ),
    ((Journal.LED,), said("FAILED", exit_code=3), AttemptState.FAILED, "another rank failed"),
    ((Journal.NOTHING,), said("FAILED", exit_code=3), AttemptState.FAILED, "exit code 3 and recorded no end"),
    ((Journal.NOTHING,), said("FAILED"), AttemptState.FAILED, "it failed and recorded no end"),
    ((Journal.LED,), said("COMPLETED", exit_code=0), AttemptState.COMPLETED, ""),
    ((Journal.LED,), said("LOST"), AttemptState.COMPLETED, ""),
    ((Journal.NOTHING,), said("COMPLETED", exit_code=0), AttemptState.LOST, "recorded no end"),
    ((Journal.CALLED,), said("COMPLETED", exit_code=0), AttemptState.COMPLETED, "so there is no result"),
    (
        (Journal.CALLED,),
        said("COMPLETED", exit_code=0, preempted=True),
        AttemptState.LOST,
        "with exit code 0 while Slurm preempted it",
    ),
    (
        (Journal.NOTHING, Journal.SCRIPT),
        said("FAILED", exit_code=0, signal=53),
        AttemptState.FAILED,
        "could not open its output file: the folder does not exist or is not writable",
    ),
    (NOT_LED[:3], said("LOST"), AttemptState.LOST, "Slurm has no record"),
    ((Journal.WARNED,), said("COMPLETED", exit_code=0), AttemptState.TIMEOUT, "not requeued"),
    ((Journal.STOPPED,), said("COMPLETED", exit_code=0), AttemptState.FAILED, "by SIGTERM, and its job went on"),
    ((Journal.YIELDED,), said("COMPLETED", exit_code=0), AttemptState.COMPLETED, ""),
    ((Journal.YIELDED,), said("FAILED", exit_code=1), AttemptState.COMPLETED, ""),
    ((Journal.YIELDED,), said("LOST"), AttemptState.COMPLETED, ""),
    ((Journal.SCRIPT,), said("COMPLETED", exit_code=0), AttemptState.COMPLETED, ""),
    (
        (Journal.SCRIPT,),
        said("FAILED", exit_code=3),
        AttemptState.FAILED,
        "it ended with exit code 3 (see its log)",
    ),
    ((Journal.SCRIPT,), said("FAILED"), AttemptState.FAILED, "it failed (see its log)"),
    ((Journal.SCRIPT,), said("FAILED", signal=KILLED), AttemptState.FAILED, "killed by SIGKILL"),
    (
        (Journal.SCRIPT,),
        said("FAILED", exit_code=1, preempted=True),
        AttemptState.PREEMPTED,
        "within the grace time",
    ),
    ((Journal.SCRIPT,), said("FAILED", signal=TERMINATED, preempted=True), AttemptState.PREEMPTED, "preempted: "),
    (
        (Journal.SCRIPT,),
        said("FAILED", signal=KILLED, over_memory=True, preempted=True),
        AttemptState.OUT_OF_MEMORY,
        "more memory",
    ),
    (
        (Journal.SCRIPT,),
        said("COMPLETED", exit_code=0, preempted=True),
        AttemptState.COMPLETED,
        "while Slurm preem",
    ),
    ((Journal.SCRIPT,), said("CANCELLED", preempted=True), AttemptState.CANCELLED, "cancelled"),
    ((Journal.SCRIPT,), said("LOST"), AttemptState.LOST, "Slurm has no record of its end"),
]


@pytest.mark.parametrize(
    ("journal", "slurm", "state", "words"),
    [(journal, *rest) for journals, *rest in CASES for journal in journals],
    ids=lambda value: value.name if isinstance(value, Journal) else value.state if hasattr(value, "run") else None,
)
def test_two_witnesses_tell_why_an_attempt_stopped(
    journal: Journal, slurm: JobObserved, state: AttemptState, words: str
) -> None:
    verdict = judge(journal, slurm, stopped_by="SIGTERM")
    assert verdict is not None
    assert verdict.state is state
    assert words in (verdict.reason or "")
    assert "{" not in (verdict.reason or "")


def test_a_rank_that_dies_takes_the_first_one_with_it() -> None:
    verdict = judge(Journal.STOPPED, said("FAILED", exit_code=3), stopped_by="SIGTERM", ranks=4)
    assert verdict is not None
    assert (verdict.state, verdict.reason) == (AttemptState.FAILED, "another rank of it failed first (see its log)")


def test_who_leaves_with_exit_code_0_after_somebody_asked_for_its_end_has_not_completed() -> None:
    verdict = judge(Journal.CALLED, said("COMPLETED", exit_code=0), asked=True)
    assert verdict is not None
    assert verdict.state is AttemptState.CANCELLED


def test_no_signal_is_blamed_where_slurm_could_not_open_the_output_file() -> None:
    verdict = judge(Journal.NOTHING, said("FAILED", signal=53))
    assert verdict is not None
    assert verdict.signal is None


def test_every_row_decides_some_case() -> None:
    rows = [find_rule(journal, slurm) for journals, slurm, *_ in CASES for journal in journals]
    rows.append(find_rule(Journal.STOPPED, said("FAILED"), ranks=4))
    rows.append(find_rule(Journal.CALLED, said("COMPLETED"), asked=True))
    assert [rule for rule in RULES if rule not in rows] == []


@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT", "CANCELLED", "COMPLETED", "REQUEUED", "NODE_FAIL", "LOST"])
def test_what_the_journal_says_of_its_own_failure_stands(state: str) -> None:
    assert judge(Journal.FAILED, said(state)) is None


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "SUSPENDED", "UNKNOWN", "FORGOTTEN", "NOT_REQUEUED"])
@pytest.mark.parametrize("journal", Journal)
def test_a_word_that_is_no_end_decides_nothing(journal: Journal, state: str) -> None:
    assert judge(journal, said(state)) is None


def test_a_signal_is_told_by_slurm_or_by_the_exit_code_of_a_shell() -> None:
    assert killed_by(said("FAILED", signal=9)) == 9
    assert killed_by(said("FAILED", exit_code=143)) == 15
    assert killed_by(said("FAILED", exit_code=1)) is None
    assert killed_by(said("FAILED", exit_code=255)) is None
    assert (signal_name(9), signal_name(53)) == ("SIGKILL", "signal 53")


@pytest.mark.parametrize("state", AttemptState)
def test_what_the_cluster_or_a_person_did_is_no_failure_of_the_run(state: AttemptState) -> None:
    found = failure_class(entities.attempt(state=state))
    expected = {
        AttemptState.FAILED: FailureClass.FAILED,
        AttemptState.OUT_OF_MEMORY: FailureClass.OUT_OF_MEMORY,
        AttemptState.TIMEOUT: FailureClass.TIMEOUT,
        AttemptState.DEADLINE: FailureClass.TIMEOUT,
        AttemptState.NODE_FAIL: FailureClass.NODE_FAIL,
        AttemptState.BOOT_FAIL: FailureClass.NODE_FAIL,
        AttemptState.LOST: FailureClass.LOST,
    }
    assert found is expected.get(state)
