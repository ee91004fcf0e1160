"""What Slurm says of the elements of a packed array, and what that means for the runs that they execute."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from hpcorch import tunables
from hpcorch.journal.control import EMPTY_HISTORY
from hpcorch.model import events as ev
from hpcorch.model.entities import Attempt
from hpcorch.model.job_states import JobState, parse_state
from hpcorch.model.states import AttemptState, RunState
from hpcorch.services.observation.conclusions import heeded_signals
from hpcorch.services.observation.from_absence import from_silence
from hpcorch.services.observation.from_sacct import from_accounting
from hpcorch.services.observation.from_squeue import from_queue
from hpcorch.services.observation.known import KnownAttempts, known_attempts
from hpcorch.slurm.answers.sacct import AccountingRow
from hpcorch.slurm.answers.squeue import QueueRow
from tests.support import entities

ARRAY = "40"
NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
AFTER = NOW + timedelta(seconds=tunables.JOURNAL_LATE_S)
# Four runs, two elements.
SUBMISSION = entities.submission(0, (5, 6, 7, 8), job_id=ARRAY, tasks=2)
RUNS = [entities.run(number, RunState.RUNNING, submission=0, job_id=ARRAY) for number in SUBMISSION.runs]


def made(run: int, element: int, state: AttemptState = AttemptState.RUNNING, **values: Any) -> Attempt:
    """An attempt that an element made at its first start, unless another is given."""
    found = {"job_id": f"{ARRAY}_{element}", "job_restart": 0, "pid": 1, **values}
    return entities.attempt(run, state, **found)


def done(run: int, element: int) -> Attempt:
    return made(run, element, AttemptState.COMPLETED, ended_at="2026-01-01T11:00:00.000000Z")


def known(*attempts: Attempt, told: Iterable[ev.JobObserved] = ()) -> KnownAttempts:
    history = replace(EMPTY_HISTORY, submissions={0: SUBMISSION}, observed={word.attempt: word for word in told})
    over = {one.run for one in attempts if one.state is AttemptState.COMPLETED}
    return known_attempts([run for run in RUNS if run.run not in over], history, attempts)


def queued(index: int, state: str) -> QueueRow:
    nodes = "" if state == "PENDING" else "n1"
    return entities.queue_row(ARRAY, index, parse_state(state), submitted_at=NOW, nodes=nodes)


def accounted(index: int, state: str) -> AccountingRow:
    return entities.accounting_row(ARRAY, index, parse_state(state), NOW)


def by_squeue(now_known: KnownAttempts, *rows: QueueRow) -> list[ev.JobObserved]:
    alive = {(row.array_job_id, row.index) for row in rows if not row.state.is_final}
    return now_known.packed.of_runs(from_queue(rows, now_known), alive, now=NOW)


def by_sacct(
    now_known: KnownAttempts, *rows: AccountingRow, alive: Collection[int] = (), now: datetime = AFTER
) -> list[ev.JobObserved]:
    elements = {(ARRAY, index) for index in alive}
    facts = from_accounting(rows, now_known, elements)
    silent = from_silence(now_known.packed.silent(elements), now_known.with_facts(facts), now=now, accounting=True)
    return now_known.packed.of_runs([*facts, *silent], elements, now=now)


def words(facts: Sequence[ev.JobObserved]) -> list[tuple[int, int, str]]:
    return [(fact.run, fact.restart, fact.state) for fact in facts]


def test_a_word_on_an_element_is_about_the_runs_that_it_has_in_flight():
    now_known = known(done(5, 0), made(6, 0), made(7, 1))
    found = by_sacct(now_known, accounted(0, "NODE_FAIL"), alive=[1])
    assert words(found) == [(6, 0, "NODE_FAIL")]


def test_a_requeued_element_requeues_its_runs_in_flight_and_no_other():
    now_known = known(done(5, 0), made(6, 0), made(7, 1))
    found = by_squeue(now_known, queued(0, "PENDING"), queued(1, "RUNNING"))
    assert words(found) == [(6, 0, "REQUEUED"), (6, 1, "PENDING")]


def test_a_word_on_the_second_start_of_an_element_is_about_what_it_made_then():
    first = made(6, 0, AttemptState.REQUEUED)
    second = made(6, 0, restart=1, job_restart=1)
    told = [ev.JobObserved(submission=0, run=6, restart=0, state="REQUEUED", witness="sacct")]
    now_known = known(first, second, made(7, 0, job_restart=1), told=told)
    found = by_sacct(now_known, accounted(0, "REQUEUED"), accounted(0, "TIMEOUT"), alive=[1])
    assert sorted(words(found)) == [(6, 1, "TIMEOUT"), (7, 0, "TIMEOUT")]


def test_what_a_task_has_told_of_a_run_stays():
    told = [ev.JobObserved(submission=0, run=6, restart=0, state="FAILED", witness="local")]
    now_known = known(made(6, 0, AttemptState.FAILED), told=told)
    assert by_sacct(now_known, accounted(0, "CANCELLED"), alive=[1]) == []


def test_sacct_explains_the_end_of_a_run_in_flight_that_squeue_showed_first():
    told = [ev.JobObserved(submission=0, run=6, restart=0, state="REQUEUED", witness="squeue")]
    now_known = known(made(6, 0, AttemptState.REQUEUED), told=told)
    found = by_sacct(now_known, accounted(0, "PREEMPTED"), alive=[0, 1])
    assert words(found) == []  # squeue may have seen a later start
    found = by_sacct(now_known, accounted(0, "PREEMPTED"), accounted(0, "RUNNING"), alive=[0, 1])
    assert words(found) == [(6, 0, "PREEMPTED")]


def test_runs_that_nobody_took_wait_as_long_as_any_element_is_alive():
    now_known = known(done(5, 0), made(6, 1))
    assert by_squeue(now_known, queued(0, "COMPLETED"), queued(1, "RUNNING")) == []
    assert by_sacct(now_known, accounted(0, "COMPLETED"), alive=[1]) == []


def test_runs_that_nobody_took_are_let_go_when_the_array_is_over():
    now_known = known(done(5, 0), done(6, 1))
    found = by_sacct(now_known, accounted(0, "COMPLETED"), accounted(1, "TIMEOUT"))
    assert words(found) == [(7, 0, "LEFT_OVER"), (8, 0, "LEFT_OVER")]
    told = known(done(5, 0), done(6, 1), told=found)
    assert by_sacct(told, accounted(0, "COMPLETED"), accounted(1, "TIMEOUT")) == []


def test_they_are_not_let_go_before_a_late_file_system_must_show_who_took_them():
    now_known = known(done(5, 0), done(6, 1))
    rows = (accounted(0, "COMPLETED"), accounted(1, "COMPLETED"))
    assert by_sacct(now_known, *rows, now=AFTER - timedelta(seconds=1)) == []


@pytest.mark.parametrize("state", ["FAILED", "NODE_FAIL", "TIMEOUT", "OUT_OF_MEMORY"])
def test_where_no_run_was_taken_all_end_as_the_elements_did(state):
    row = accounted(1, state)
    found = by_sacct(known(), accounted(0, "COMPLETED"), row)
    assert words(found) == [(run, 0, state) for run in SUBMISSION.runs]
    assert {fact.node for fact in found} == {row.nodes or None}  # whose log tells why


def test_where_all_elements_ended_well_and_took_none_nothing_is_submitted_again():
    found = by_sacct(known(), accounted(0, "COMPLETED"), accounted(1, "COMPLETED"))
    assert words(found) == [(run, 0, "COMPLETED") for run in SUBMISSION.runs]  # of a run without an end: LOST


def test_what_somebody_cancelled_is_not_submitted_again():
    found = by_sacct(known(done(5, 0)), accounted(0, "COMPLETED"), accounted(1, "CANCELLED"))
    assert words(found) == [(run, 0, "CANCELLED") for run in (6, 7, 8)]


def test_elements_that_nobody_tells_of_were_cancelled_while_they_waited():
    now_known = known(done(5, 0))
    found = by_sacct(now_known, accounted(0, "COMPLETED"))
    assert words(found) == [(run, 0, "FORGOTTEN") for run in (6, 7, 8)]
    later = AFTER + timedelta(seconds=tunables.SACCT_LATE_S)
    told = known(done(5, 0), told=found)
    assert by_sacct(told, accounted(0, "COMPLETED"), now=AFTER) == []
    found = by_sacct(told, accounted(0, "COMPLETED"), now=later)
    assert words(found) == [(run, 0, "CANCELLED") for run in (6, 7, 8)]


def test_a_run_that_the_next_start_of_its_element_did_not_come_to_is_let_go():
    told = [ev.JobObserved(submission=0, run=6, restart=0, state="PREEMPTED", witness="sacct", end=None)]
    now_known = known(done(5, 0), made(6, 0, AttemptState.PREEMPTED), done(7, 1), done(8, 1), told=told)
    found = by_sacct(now_known, accounted(0, "PREEMPTED"), accounted(0, "COMPLETED"), accounted(1, "COMPLETED"))
    assert words(found) == [(6, 1, "LEFT_OVER")]


def test_a_run_whose_element_was_cancelled_before_its_next_start_is_cancelled():
    told = [
        ev.JobObserved(submission=0, run=6, restart=0, state="REQUEUED", witness="sacct"),
        ev.JobObserved(submission=0, run=6, restart=1, state="PENDING", witness="squeue"),
    ]
    now_known = known(made(6, 0, AttemptState.REQUEUED), told=told)
    found = by_sacct(now_known, accounted(0, "REQUEUED"), accounted(0, "CANCELLED"), alive=[1])
    assert words(found) == [(6, 1, "CANCELLED")]


def test_unpacked_arrays_are_read_as_ever():
    plain = replace(SUBMISSION, tasks=None)
    history = replace(EMPTY_HISTORY, submissions={0: plain}, observed={})
    now_known = known_attempts(RUNS, history, [])
    assert now_known.packed.submissions == {}
    found = by_squeue(now_known, queued(2, "RUNNING"))
    assert (7, 0, JobState.RUNNING.value) in words(found)


def test_where_preempted_elements_are_not_requeued_the_time_since_they_ended_counts():
    preempted = {"state": "PREEMPTED", "witness": "sacct", "end": "2026-01-01T12:00:00.000000Z"}
    told = [
        ev.JobObserved(submission=0, run=5, restart=0, **preempted),
        ev.JobObserved(submission=0, run=5, restart=1, state="NOT_REQUEUED", witness="squeue"),
    ]
    now_known = known(made(5, 0, AttemptState.PREEMPTED), done(6, 1), told=told)
    rows = (accounted(0, "PREEMPTED"), accounted(1, "COMPLETED"))
    assert by_sacct(now_known, *rows, now=AFTER - timedelta(seconds=1)) == []
    assert words(by_sacct(now_known, *rows)) == [(7, 0, "LEFT_OVER"), (8, 0, "LEFT_OVER")]


def test_a_run_that_was_cancelled_before_its_turn_was_on_no_node():
    found = by_sacct(known(done(5, 0), made(6, 1)), accounted(0, "COMPLETED"), accounted(1, "CANCELLED"))
    assert [(fact.run, fact.node, fact.start) for fact in found if fact.run > 6] == [
        (7, None, None),
        (8, None, None),
    ]


def test_a_run_that_began_while_slurm_answered_about_the_one_before_it_hears_the_same():
    told = [ev.JobObserved(submission=0, run=5, restart=0, state="FAILED", witness="sacct")]
    now_known = known(done(5, 0), made(6, 0), done(7, 1), done(8, 1), told=told)
    assert words(by_sacct(now_known, accounted(0, "FAILED"))) == [(6, 0, "FAILED")]


def test_so_does_one_of_a_requeued_element():
    told = [
        ev.JobObserved(submission=0, run=5, restart=0, state="PREEMPTED", witness="sacct"),
        ev.JobObserved(submission=0, run=5, restart=1, state="PENDING", witness="squeue"),
    ]
    now_known = known(done(5, 0), made(6, 0), told=told)
    found = by_squeue(now_known, queued(0, "PENDING"), queued(1, "RUNNING"))
    assert words(found) == [(6, 0, "REQUEUED"), (6, 1, "PENDING")]
    by_now = known(done(5, 0), made(6, 0), told=[*told, *found])
    assert by_squeue(by_now, queued(0, "PENDING"), queued(1, "RUNNING")) == []
    found = by_sacct(by_now, accounted(0, "PREEMPTED"), accounted(0, "PENDING"), alive=[0, 1])
    assert words(found) == [(6, 0, "PREEMPTED")]


def test_a_run_hears_of_a_start_that_follows_one_which_did_not_come_to_it():
    """Preempted, and once more while the program started again; then somebody cancels the element."""
    told = [
        ev.JobObserved(submission=0, run=6, restart=0, state="PREEMPTED", witness="sacct"),
        ev.JobObserved(submission=0, run=6, restart=1, state="PREEMPTED", witness="sacct"),
    ]
    now_known = known(done(5, 0), made(6, 0, AttemptState.PREEMPTED), told=told)
    found = by_squeue(now_known, queued(0, "PENDING"), queued(1, "RUNNING"))
    assert words(found) == [(6, 2, "PENDING")]
    rows = (accounted(0, "PREEMPTED"), accounted(0, "PREEMPTED"), accounted(0, "CANCELLED"))
    assert words(by_sacct(now_known, *rows, alive=[1])) == [(6, 2, "CANCELLED")]


def test_a_run_whose_element_has_ended_well_is_not_said_to_be_on_a_node():
    told = [ev.JobObserved(submission=0, run=6, restart=0, state="REQUEUED", witness="sacct")]
    now_known = known(made(6, 0, AttemptState.REQUEUED), told=told)
    rows = (accounted(0, "REQUEUED"), accounted(0, "COMPLETED"))
    (word,) = by_sacct(now_known, *rows, alive=[1], now=AFTER - timedelta(seconds=1))
    assert (word.restart, word.state, word.node, word.start, word.end) == (1, "RUNNING", None, None, None)


def test_what_an_element_executed_last_does_not_speak_for_the_run_of_its_number():
    asked = made(6, 0, AttemptState.STOPPED, signal="SIGUSR2")
    assert heeded_signals(known(asked, made(5, 1))) == frozenset()


def test_an_attempt_that_no_element_can_have_made_is_passed_over():
    assert known(made(6, 0, job_id=ARRAY)).packed.starts == {}
