"""Rows of the queue from what pyslurm loaded on each release, beside what squeue said in the same second."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hpcorch.model.job_states import JobState
from hpcorch.slurm.answers import squeue
from hpcorch.slurm.pyslurm.rows import CannotTellError, rows
from tests.support.fake_pyslurm.pyslurm import Job
from tests.support.paths import DATA

DATA = DATA / "pyslurm"
RELEASES = sorted(path.stem for path in DATA.iterdir())

# Arrays in the captures whose records do not say enough, by a word of the reason.
UNTOLD = {"1554": "not a whole list", "1563": "heterogeneous", "1560": "heterogeneous", "1": "may have no elements"}
EVERY_SECOND = "1553"  # of 0-40: while they wait, squeue -r leaves out the last

ELEMENT = Job(id=12, array_id=10, array_task_id=3, state="RUNNING", state_reason="None", allocated_nodes="n1")
WAITING = Job(id=10, array_id=10, array_tasks_waiting="4-6,9", state="PENDING", state_reason="Resources")


@pytest.fixture(params=RELEASES)
def captured(request):
    found = json.loads((DATA / f"{request.param}.json").read_text(encoding="utf-8"))
    return [Job(**record) for record in found["records"]], squeue.parse("\n".join(found["squeue"]))


def by_id(found):
    return sorted(found, key=lambda row: row.job_id)


def indices(records, *job_ids):
    return [row.index for row in rows(records, job_ids)]


def test_every_job_has_the_rows_that_squeue_shows(captured):
    records, shown = captured
    jobs = {row.array_job_id for row in shown if "+" not in row.job_id} - {*UNTOLD, EVERY_SECOND}
    assert len(jobs) > 8
    for job in jobs:
        assert by_id(rows(records, [job])) == by_id(row for row in shown if row.array_job_id == job)
    assert by_id(rows(records, jobs)) == by_id(row for row in shown if row.array_job_id in jobs)


def test_an_element_and_a_raw_id_have_the_row_that_squeue_shows(captured):
    records, shown = captured
    told = rows(records, {row.array_job_id for row in shown} - set(UNTOLD) - {"1561", "1564"})
    for row in told:
        assert rows(records, [row.job_id]) == [row]
        if row.raw_id != row.array_job_id:
            assert rows(records, [row.raw_id]) == [row]


def test_what_the_records_do_not_say_is_left_to_squeue(captured):
    records, _ = captured
    known = {str(record.array_id or record.heterogeneous_id) for record in records} & set(UNTOLD)
    assert len(known) > 1
    for job in known:
        with pytest.raises(CannotTellError, match=UNTOLD[job]):
            rows(records, [job])


def test_waiting_elements_in_steps_are_all_told(captured):
    records, _ = captured
    assert indices(records, EVERY_SECOND) == list(range(0, 41, 2))


def test_the_record_without_a_task_id_is_element_0_once_it_has_a_name_or_a_node_of_its_own():
    assert indices([replace(ELEMENT, array_task_id=None)], "10") == [0]
    assert indices([replace(ELEMENT, id=10, array_task_id=None)], "10") == [0]
    forgotten = replace(ELEMENT, id=10, array_task_id=None, state="CANCELLED", allocated_nodes=None)
    with pytest.raises(CannotTellError):
        rows([forgotten], ["10"])


def test_only_what_was_asked_for_is_told():
    records = [ELEMENT, WAITING, replace(ELEMENT, id=11, array_id=None, array_task_id=None)]
    assert indices(records, "10") == [3, 4, 5, 6, 9]
    assert indices(records, "10_5", "10_3") == [3, 5]
    assert indices(records, "10_7", "12_3", "99") == []
    assert [row.job_id for row in rows(records, ["11"])] == ["11"]
    foreign = replace(WAITING, id=20, array_id=20, array_tasks_waiting="1,5,...")
    assert indices([*records, foreign], "12") == [3]


def test_an_element_is_never_told_twice():
    with pytest.raises(CannotTellError, match="two records of 10_3"):
        rows([ELEMENT, replace(ELEMENT, id=13)], ["10"])


@pytest.mark.parametrize("job_id", ["10_[3-5]", "10+1", ""])
def test_ids_of_other_forms_are_left_to_squeue(job_id):
    with pytest.raises(CannotTellError):
        rows([ELEMENT], [job_id])


def test_a_state_of_a_newer_slurm_is_unknown():
    (row,) = rows([replace(ELEMENT, state="DREAMING")], ["10"])
    assert row.state is JobState.UNKNOWN
