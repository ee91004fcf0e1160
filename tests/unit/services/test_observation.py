"""What answers of squeue and sacct are taken to mean: one test a rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from hpcorch import tunables
from hpcorch.model import events as ev
from hpcorch.model.entities import Submission
from hpcorch.model.ids import AttemptId
from hpcorch.model.job_states import parse_state
from hpcorch.model.states import AttemptState, SubmissionForm
from hpcorch.services.observation.from_absence import from_silence
from hpcorch.services.observation.from_sacct import from_accounting, own_accounts
from hpcorch.services.observation.from_squeue import from_queue, is_without_detail, own_rows, staying_runs
from hpcorch.services.observation.known import KnownAttempts
from hpcorch.slurm.answers.sacct import AccountingRow
from hpcorch.slurm.answers.squeue import QueueRow
from tests.support import entities

LATE = timedelta(seconds=tunables.SACCT_LATE_S)

NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
ARRAY = "40"
# The third run of the array has index 2 and number 7.
SUBMISSION = entities.submission(0, (5, 6, 7), token="f" * 32, script="", job_id=ARRAY)


def known(*facts: ev.JobObserved, journals: Iterable[tuple[int, int]] = ()) -> KnownAttempts:
    """KnownAttempts facts, and for each (run, restart) an attempt that a journal speaks of."""
    attempts = {(run, 0): entities.attempt(run, restart=restart) for run, restart in journals}
    return KnownAttempts(submissions={ARRAY: SUBMISSION}, attempts=attempts, observed={}).with_facts(facts)


def said(run: int, state: str, restart: int = 0, witness: str = "squeue", **values: object) -> ev.JobObserved:
    return ev.JobObserved(submission=0, run=run, restart=restart, state=state, witness=witness, **values)


def queued(index: int | None, state: str, **values: object) -> QueueRow:
    nodes = "" if state == "PENDING" else "n1"
    return entities.queue_row(ARRAY, index, parse_state(state), **{"submitted_at": NOW, "nodes": nodes, **values})


def accounted(index: int | None, state: str, **values: object) -> AccountingRow:
    return entities.accounting_row(ARRAY, index, parse_state(state), NOW, **values)


def words(facts: Iterable[ev.JobObserved]) -> list[tuple[int, int, str]]:
    return [(fact.run, fact.restart, fact.state) for fact in facts]


OTHERS = [queued(0, "PENDING"), queued(1, "PENDING")]
QUIET = [said(5, "PENDING"), said(6, "PENDING")]  # so that the other two elements are no news


# squeue


def test_a_waiting_element_is_told_of_once() -> None:
    rows = [queued(0, "PENDING"), queued(1, "PENDING"), queued(2, "PENDING")]
    first = from_queue(rows, known())
    assert words(first) == [(5, 0, "PENDING"), (6, 0, "PENDING"), (7, 0, "PENDING")]
    assert from_queue(rows, known(*first)) == []


def test_a_reason_to_wait_that_a_user_can_act_on_is_news() -> None:
    row = queued(2, "PENDING", reason="QOSMaxJobsPerUserLimit")
    (fact,) = from_queue([*OTHERS, row], known(*QUIET, said(7, "PENDING", reason="Priority")))
    assert fact.reason == "QOSMaxJobsPerUserLimit"


def test_reasons_that_swap_while_an_element_waits_for_its_turn_are_no_news() -> None:
    before = known(*QUIET, said(7, "PENDING", reason="Priority"))
    assert from_queue([*OTHERS, queued(2, "PENDING", reason="Resources")], before) == []


@pytest.mark.parametrize(
    ("ended", "row", "found"),
    [
        ("COMPLETED", "RUNNING", "LINGERING"),
        ("FAILED", "SUSPENDED", "LINGERING"),
        ("COMPLETED", "COMPLETING", None),
        ("STOPPED", "RUNNING", "LINGERING"),
        ("STOPPED", "COMPLETING", "LINGERING"),
    ],
)
def test_a_job_that_is_there_although_its_work_is_over_is_told_of_once(
    ended: str, row: str, found: str | None
) -> None:
    over = entities.attempt(7, state=AttemptState(ended))
    before = replace(
        known(*QUIET), attempts={(7, 0): over}, overdue=frozenset({AttemptId(run=7, submission=0, restart=0)})
    )
    facts = from_queue([*OTHERS, queued(2, row)], before)
    assert words(facts) == ([] if found is None else [(7, 0, found)])
    assert from_queue([*OTHERS, queued(2, row)], before.with_facts(facts)) == []


@pytest.mark.parametrize(
    ("ended", "row", "stays"),
    [
        ("COMPLETED", "RUNNING", True),
        ("FAILED", "SUSPENDED", True),
        ("COMPLETED", "COMPLETING", False),
        ("COMPLETED", "COMPLETED", False),
        ("RUNNING", "RUNNING", False),
    ],
)
def test_a_job_of_a_run_that_has_just_ended_can_be_found(ended: str, row: str, stays: bool) -> None:
    over = entities.attempt(7, state=AttemptState(ended))
    found = staying_runs([*OTHERS, queued(2, row)], replace(known(), attempts={(7, 0): over}))
    assert found == ({7} if stays else set())


def test_an_element_that_waits_after_slurm_began_to_preempt_it_was_preempted() -> None:
    before = known(*QUIET, said(7, "LINGERING", preempted=True), journals=[(7, 0)])
    requeued, waiting = from_queue([*OTHERS, queued(2, "PENDING")], before)
    assert (requeued.state, requeued.preempted) == ("REQUEUED", True)
    assert (waiting.restart, waiting.state) == (1, "PENDING")


def test_a_job_that_stayed_and_that_slurm_has_forgotten_stays_no_more() -> None:
    over = entities.attempt(7, state=AttemptState.COMPLETED)
    before = replace(known(said(7, "LINGERING")), attempts={(7, 0): over})
    facts = from_silence([(7, 0)], before, now=NOW, accounting=False)
    assert words(facts) == [(7, 0, "FORGOTTEN")]


def test_a_running_element_whose_journal_runs_is_no_news() -> None:
    rows = [*OTHERS, queued(2, "RUNNING")]
    assert from_queue(rows, known(*QUIET, journals=[(7, 0)])) == []
    assert words(from_queue(rows, known(*QUIET))) == [(7, 0, "RUNNING")]


def test_an_element_that_waits_although_it_ran_was_requeued() -> None:
    rows = [*OTHERS, queued(2, "PENDING", reason="BeginTime")]
    facts = from_queue(rows, known(*QUIET, journals=[(7, 0)]))
    assert words(facts) == [(7, 0, "REQUEUED"), (7, 1, "PENDING")]
    assert from_queue(rows, known(*QUIET, *facts, journals=[(7, 0)])) == []


@pytest.mark.parametrize("end", ["REQUEUED", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "FAILED"])
def test_an_element_that_is_alive_after_its_attempt_ended_is_the_next_attempt(end: str) -> None:
    before = known(*QUIET, said(7, end, witness="sacct"), journals=[(7, 0)])
    assert words(from_queue([*OTHERS, queued(2, "RUNNING")], before)) == [(7, 1, "RUNNING")]


def test_an_element_requeued_before_its_task_could_claim_is_the_next_attempt() -> None:
    before = known(*QUIET, said(7, "NODE_FAIL", witness="sacct"))
    assert words(from_queue([*OTHERS, queued(2, "PENDING")], before)) == [(7, 1, "PENDING")]


def test_an_element_requeued_twice_is_the_third_attempt() -> None:
    before = known(*QUIET, said(7, "PREEMPTED"), said(7, "REQUEUED", restart=1), journals=[(7, 1)])
    assert words(from_queue([*OTHERS, queued(2, "PENDING")], before)) == [(7, 2, "PENDING")]


def test_an_element_cancelled_while_it_waited_for_its_second_start_ends_as_that_attempt() -> None:
    before = known(*QUIET, said(7, "REQUEUED"), said(7, "PENDING", restart=1), journals=[(7, 0)])
    assert words(from_queue([*OTHERS, queued(2, "CANCELLED")], before)) == [(7, 1, "CANCELLED")]


def test_an_end_that_squeue_goes_on_to_show_is_of_one_attempt() -> None:
    rows = [*OTHERS, queued(2, "NODE_FAIL")]
    facts = from_queue(rows, known(*QUIET, journals=[(7, 0)]))
    assert words(facts) == [(7, 0, "NODE_FAIL")]
    assert from_queue(rows, known(*QUIET, *facts, journals=[(7, 0)])) == []


@pytest.mark.parametrize("by_accounting", [False, True])
def test_an_element_that_squeue_shows_as_preempted_is_not_requeued(by_accounting: bool) -> None:
    """With PreemptMode=REQUEUE it would be shown as COMPLETING, and then as PENDING."""
    rows = [*OTHERS, queued(2, "PREEMPTED")]
    before = known(*QUIET, journals=[(7, 0)])
    ends = from_accounting([accounted(2, "PREEMPTED")], before) if by_accounting else []
    facts = [*ends, *from_queue(rows, before.with_facts(ends))]
    assert words(facts) == [(7, 0, "PREEMPTED"), (7, 1, "NOT_REQUEUED")]
    after = before.with_facts(facts)
    assert from_queue(rows, after) == []
    assert silence(after) == []
    assert silence(after, 2 * LATE) == []


def test_an_element_that_is_requeued_by_hand_after_all_takes_the_word_back() -> None:
    rows = [*OTHERS, queued(2, "PREEMPTED")]
    before = known(*QUIET, journals=[(7, 0)])
    given_up = before.with_facts(from_queue(rows, before))
    waits = from_queue([*OTHERS, queued(2, "PENDING")], given_up)
    assert words(waits) == [(7, 1, "PENDING")]
    claimed = replace(given_up.with_facts(waits), attempts=known(journals=[(7, 1)]).attempts)
    again = from_queue(rows, claimed)
    assert words(again) == [(7, 1, "PREEMPTED"), (7, 2, "NOT_REQUEUED")]
    assert from_queue(rows, claimed.with_facts(again)) == []


def test_a_preempted_element_that_is_being_requeued_is_not_given_up() -> None:
    database = [accounted(2, "PREEMPTED")]
    before = known(*QUIET, journals=[(7, 0)])
    completing = [*OTHERS, queued(2, "COMPLETING")]
    assert from_queue(completing, before) == []
    waits = [*OTHERS, queued(2, "PENDING", reason="BeginTime")]
    ends = from_accounting([*database, accounted(2, "PENDING")], before, {(ARRAY, 2)})
    assert words([*ends, *from_queue(waits, before.with_facts(ends))]) == [(7, 0, "PREEMPTED"), (7, 1, "PENDING")]


def test_what_squeue_shows_as_the_reason_of_an_end_is_none() -> None:
    (fact,) = from_queue([*OTHERS, queued(2, "FAILED", reason="JobLaunchFailure")], known(*QUIET))
    assert fact.reason is None
    row = queued(2, "CANCELLED", reason="DependencyNeverSatisfied")
    (fact,) = from_queue([*OTHERS, row], known(*QUIET, said(7, "RUNNING")))
    assert fact.reason == "DependencyNeverSatisfied"


def test_an_element_that_vanished_alone_was_cancelled_while_it_waited() -> None:
    assert words(from_queue(OTHERS, known(*QUIET, said(7, "PENDING")))) == [(7, 0, "CANCELLED")]


def test_elements_that_vanished_after_they_ran_were_not_cancelled() -> None:
    assert from_queue(OTHERS, known(*QUIET, journals=[(7, 0)])) == []
    assert from_queue(OTHERS, known(*QUIET, said(7, "RUNNING"))) == []


def test_an_array_that_squeue_shows_nothing_of_tells_nothing() -> None:
    assert from_queue([], known(said(7, "PENDING"))) == []


@pytest.mark.parametrize("state", ["REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "LAUNCH_FAILED", "RESV_DEL_HOLD"])
def test_all_of_slurms_words_for_waiting_are_pending(state: str) -> None:
    assert words(from_queue([*OTHERS, queued(2, state)], known(*QUIET))) == [(7, 0, "PENDING")]


@pytest.mark.parametrize("state", ["CONFIGURING", "COMPLETING", "STAGE_OUT", "SIGNALING", "RESIZING"])
def test_all_of_slurms_words_for_holding_a_node_are_running(state: str) -> None:
    assert words(from_queue([*OTHERS, queued(2, state)], known(*QUIET))) == [(7, 0, "RUNNING")]


def test_a_stopped_element_is_suspended_and_runs_again() -> None:
    before = known(*QUIET, journals=[(7, 0)])
    (stopped,) = from_queue([*OTHERS, queued(2, "STOPPED")], before)
    assert stopped.state == "SUSPENDED"
    assert words(from_queue([*OTHERS, queued(2, "RUNNING")], before.with_facts([stopped]))) == [(7, 0, "RUNNING")]


def test_a_state_of_a_newer_slurm_is_unknown() -> None:
    assert words(from_queue([*OTHERS, queued(2, "TELEPORTED")], known(*QUIET))) == [(7, 0, "UNKNOWN")]


def test_rows_of_other_jobs_indices_and_whole_arrays_are_left_alone() -> None:
    rows = [*OTHERS, queued(2, "PENDING"), queued(3, "FAILED"), queued(None, "FAILED")]
    rows.append(queued(2, "FAILED", array_job_id="41"))
    assert words(from_queue(rows, known(*QUIET))) == [(7, 0, "PENDING")]


def test_a_job_that_got_an_old_id_again_says_nothing_of_our_runs() -> None:
    ours = queued(2, "RUNNING", comment=f"mine hpcorch:{SUBMISSION.token}")
    anothers = queued(2, "FAILED", comment=f"hpcorch:{'0' * 32}")
    changed_by_hand = queued(1, "RUNNING", comment="please do not touch")
    assert own_rows([ours, anothers, changed_by_hand], known()) == [ours, changed_by_hand]


# sacct


def test_rows_of_one_element_are_its_attempts_in_order() -> None:
    rows = [accounted(2, "PREEMPTED"), accounted(2, "NODE_FAIL"), accounted(2, "FAILED", exit_code=3)]
    facts = from_accounting(rows, known())
    assert words(facts) == [(7, 0, "PREEMPTED"), (7, 1, "NODE_FAIL"), (7, 2, "FAILED")]
    assert facts[2].exit_code == 3
    assert from_accounting(rows, known(*facts)) == []


def test_rows_of_attempts_that_are_not_over_tell_nothing() -> None:
    rows = [accounted(2, "REQUEUED"), accounted(2, "RUNNING", ended_at=None)]
    assert words(from_accounting(rows, known())) == [(7, 0, "REQUEUED")]


def test_a_late_sacct_tells_nothing() -> None:
    assert from_accounting([], known()) == []
    assert from_accounting([accounted(2, "PENDING"), accounted(None, "PENDING")], known()) == []


def test_an_array_cancelled_as_a_whole_while_it_waited_ends_every_element_without_a_row() -> None:
    rows = [accounted(None, "CANCELLED", started_at=None, nodes="", cancelled_by=1000), accounted(0, "COMPLETED")]
    facts = from_accounting(rows, known())
    assert sorted(words(facts)) == [(5, 0, "COMPLETED"), (6, 0, "CANCELLED"), (7, 0, "CANCELLED")]
    assert {(fact.cancelled_by, fact.reason) for fact in facts if fact.run != 5} == {(1000, None)}


def test_the_end_of_one_element_whose_index_is_not_known_yet_is_not_the_end_of_all() -> None:
    assert from_accounting([accounted(None, "FAILED", exit_code=15)], known()) == []


def test_the_last_end_of_an_element_that_is_alive_is_left_to_the_next_look() -> None:
    rows = [accounted(2, "PREEMPTED"), accounted(2, "FAILED")]
    assert words(from_accounting(rows, known(), {(ARRAY, 2)})) == [(7, 0, "PREEMPTED")]
    assert words(from_accounting(rows[:1], known(), {(ARRAY, 2)})) == []


def test_what_sacct_adds_to_squeues_word_is_news_once() -> None:
    rows = [accounted(2, "FAILED", exit_code=3)]
    (fact,) = from_accounting(rows, known(said(7, "FAILED")))
    assert (fact.exit_code, fact.start, fact.end) == (
        3,
        "2026-01-01T12:00:00.000000Z",
        "2026-01-01T12:00:00.000000Z",
    )
    assert from_accounting(rows, known(fact)) == []


def test_squeue_and_sacct_that_disagree_about_an_end_do_not_make_news_for_ever() -> None:
    queue, database = [*OTHERS, queued(2, "CANCELLED")], [accounted(2, "PREEMPTED")]
    now = known(*QUIET, journals=[(7, 0)])
    for _ in range(3):
        now = now.with_facts(from_accounting(database, now))
        now = now.with_facts(from_queue(queue, now))
    assert now.observed[AttemptId(run=7, submission=0, restart=0)].state == "PREEMPTED"
    assert [*from_accounting(database, now), *from_queue(queue, now)] == []


def test_accounting_that_says_node_failure_does_not_end_a_run_that_is_back_in_the_queue() -> None:
    rows, database = [*OTHERS, queued(2, "PENDING")], [accounted(2, "NODE_FAIL"), accounted(2, "PENDING")]
    before = known(*QUIET)  # the first attempt did not live to claim the run
    ends = from_accounting(database, before, {(ARRAY, 2)})
    facts = [*ends, *from_queue(rows, before.with_facts(ends))]
    assert words(facts) == [(7, 0, "NODE_FAIL"), (7, 1, "PENDING")]


# silence


def silence(
    before: KnownAttempts, after: timedelta = timedelta(), *, accounting: bool = True
) -> list[ev.JobObserved]:
    return from_silence([(7, 0)], before, now=NOW + after, accounting=accounting)


def test_what_slurm_has_forgotten_is_noted_first_and_not_noted_again() -> None:
    before = known(journals=[(7, 0)])
    facts = silence(before)
    assert words(facts) == [(7, 0, "FORGOTTEN")]
    assert silence(before.with_facts(facts), LATE / 2) == []


@pytest.mark.parametrize(
    ("before", "end"),
    [
        (known(journals=[(7, 0)]), (7, 0, "LOST")),
        (known(said(7, "RUNNING", node="n1")), (7, 0, "LOST")),
        (known(said(7, "PENDING")), (7, 0, "CANCELLED")),
        (known(), (7, 0, "CANCELLED")),
        (known(said(7, "REQUEUED"), journals=[(7, 0)]), (7, 1, "CANCELLED")),
        (known(said(7, "REQUEUED"), said(7, "PENDING", restart=1), journals=[(7, 0)]), (7, 1, "CANCELLED")),
        (known(said(7, "REQUEUED"), said(7, "RUNNING", restart=1, node="n1"), journals=[(7, 0)]), (7, 1, "LOST")),
        (known(said(7, "REQUEUED"), journals=[(7, 1)]), (7, 1, "LOST")),
    ],
    ids=["ran", "seen-running", "waited", "never-seen", "stopped", "requeued", "ran-again", "claimed-again"],
)
def test_a_forgotten_element_ends_after_a_time(before: KnownAttempts, end: tuple[int, int, str]) -> None:
    noted = before.with_facts(silence(before))
    ends = silence(noted, LATE)
    assert words(ends) == [end]
    assert silence(noted.with_facts(ends), 2 * LATE) == []


def test_a_preempted_element_that_slurm_forgot_is_given_up_when_sacct_would_have_told_of_more() -> None:
    (end,) = from_accounting([accounted(2, "PREEMPTED")], known(journals=[(7, 0)]))
    before = known(end, journals=[(7, 0)])
    assert silence(before, LATE / 2) == []
    facts = silence(before, LATE)
    assert words(facts) == [(7, 1, "NOT_REQUEUED")]
    assert silence(before.with_facts(facts), 2 * LATE) == []
    rows = [accounted(2, "PREEMPTED"), accounted(2, "CANCELLED", cancelled_by=1000)]
    assert words(from_accounting(rows, before.with_facts(facts))) == [(7, 1, "CANCELLED")]


def test_without_accounting_nobody_else_is_waited_for() -> None:
    assert words(silence(known(said(7, "PENDING")), accounting=False)) == [(7, 0, "LOST")]
    assert words(silence(known(said(7, "REQUEUED"), journals=[(7, 1)]), accounting=False)) == [(7, 1, "LOST")]


@pytest.mark.parametrize("end", ["COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL", "CANCELLED", "LOST"])
def test_an_element_that_ended_is_not_forgotten(end: str) -> None:
    assert silence(known(said(7, end), journals=[(7, 0)])) == []


def test_accounting_that_comes_back_tells_how_a_lost_run_ended() -> None:
    lost = known(said(7, "LOST"), journals=[(7, 0)])
    assert words(from_accounting([accounted(2, "OUT_OF_MEMORY")], lost)) == [(7, 0, "OUT_OF_MEMORY")]


def test_a_left_over_row_of_waiting_elements_says_nothing_of_one_that_started() -> None:
    ended = accounted(2, "CANCELLED", cancelled_by=1000)
    stale = [accounted(index, "CANCELLED", started_at=None, nodes="", together=True) for index in range(3)]
    facts = from_accounting([ended, *stale], known(journals=[(7, 0)]))
    assert words(facts) == [(7, 0, "CANCELLED"), (5, 0, "CANCELLED"), (6, 0, "CANCELLED")]


def test_what_a_signal_killed_has_no_exit_code() -> None:
    (fact,) = from_accounting([accounted(2, "FAILED", signal=9)], known())
    assert (fact.exit_code, fact.signal, fact.reason) == (None, 9, None)


def test_sacct_adds_who_cancelled_to_what_squeue_showed_first() -> None:
    before = known(said(7, "CANCELLED", node="n1"), journals=[(7, 0)])
    assert is_without_detail(before.observed[AttemptId(run=7, submission=0, restart=0)])
    (fact,) = from_accounting([accounted(2, "CANCELLED", cancelled_by=0)], before)
    assert (fact.cancelled_by, fact.reason) == (0, None)
    assert not is_without_detail(fact)
    assert from_queue([*OTHERS, queued(2, "CANCELLED")], known(*QUIET, fact, journals=[(7, 0)])) == []


def test_why_an_element_last_waited_is_not_why_it_ended() -> None:
    (fact,) = from_accounting([accounted(2, "TIMEOUT", reason="BeginTime")], known())
    assert fact.reason is None


def test_a_job_that_got_our_id_again_says_nothing_of_ours() -> None:
    ours = replace(SUBMISSION, script=".hpcorch/submissions/s0.sbatch")
    now = replace(known(), submissions={ARRAY: ours})
    mine = accounted(0, "FAILED", command_line="sbatch --parsable /d/.hpcorch/submissions/s0.sbatch")
    other = accounted(1, "CANCELLED", command_line="sbatch /home/bob/job.sh")
    silent = accounted(2, "TIMEOUT")  # a release that does not record it
    assert own_accounts([mine, other, silent], now, "/d") == [mine, silent]


SCRIPT_ARRAY = replace(SUBMISSION, runs=(2, 4, 9), form=SubmissionForm.SCRIPT_ARRAY)
SCRIPT_JOB = replace(SUBMISSION, runs=(0,), form=SubmissionForm.SCRIPT_JOB)


def knowing(submission: Submission) -> KnownAttempts:
    return KnownAttempts(submissions={ARRAY: submission}, attempts={}, observed={})


def test_an_index_of_a_users_array_is_the_run() -> None:
    facts = from_queue([queued(4, "RUNNING"), queued(9, "PENDING"), queued(3, "RUNNING")], knowing(SCRIPT_ARRAY))
    assert sorted((fact.run, fact.state) for fact in facts) == [(2, "CANCELLED"), (4, "RUNNING"), (9, "PENDING")]


def test_a_users_job_that_is_no_array_is_run_0() -> None:
    facts = from_queue([queued(None, "RUNNING")], knowing(SCRIPT_JOB))
    assert [(fact.run, fact.state) for fact in facts] == [(0, "RUNNING")]


@pytest.mark.parametrize(("submission", "runs"), [(SCRIPT_ARRAY, [2, 4, 9]), (SCRIPT_JOB, [0])])
def test_what_was_cancelled_as_a_whole_is_told_of_each_run_of_a_script(
    submission: Submission, runs: list[int]
) -> None:
    facts = from_accounting([accounted(None, "CANCELLED", started_at=None, nodes="")], knowing(submission))
    assert [fact.run for fact in facts] == runs


def test_a_users_job_is_known_by_the_token_on_its_command_line() -> None:
    rows = [accounted(None, "FAILED", command_line=f"sbatch --comment=hpcorch:{word * 32} job.sh") for word in "fe"]
    assert own_accounts(rows, knowing(replace(SCRIPT_JOB, script="s0.sbatch")), "/sweep") == rows[:1]
