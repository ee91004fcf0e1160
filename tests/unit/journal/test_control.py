"""The control journal: each look reads only what is new, and several writers never write over each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.reader import read_segment
from hpcorch.journal.sweep_folder import take
from hpcorch.model.events import FeedingPlanned, SubmissionAccepted, SubmissionIntended
from hpcorch.model.states import SubmissionState


@pytest.fixture
def layout(tmp_path: Path) -> SweepLayout:
    made = SweepLayout(tmp_path)
    take(made)
    return made


def intent(number: int) -> SubmissionIntended:
    return SubmissionIntended(
        submission=number, launch=0, runs="0-3", token="t", backend="slurm", host="login", script=""
    )


def test_a_look_reads_what_another_process_has_added_and_nothing_twice(layout, monkeypatch):
    ours, theirs = ControlJournal(layout, "s"), ControlJournal(layout, "s")
    theirs.append(intent(0))
    assert list(ours.history().submissions) == [0]
    theirs.append(SubmissionAccepted(submission=0, job_id="7"), intent(1))
    read = []

    def counted(*args, **named):
        read.append(segment := read_segment(*args, **named))
        return segment

    monkeypatch.setattr("hpcorch.journal.control.read_segment", counted)
    history = ours.history()
    assert history.submissions[0].state is SubmissionState.ACCEPTED
    assert history.next_submission == 2
    assert [len(segment.events) for segment in read] == [2]


def test_a_history_does_not_change_under_who_has_it(layout):
    journal = ControlJournal(layout, "s")
    journal.append(intent(0))
    before = journal.history()
    journal.append(intent(1))
    assert before.next_submission == 1
    assert journal.history().next_submission == 2


def test_what_a_ledger_has_taken_over_is_a_history_of_its_own(layout):
    journal = ControlJournal(layout, "s")
    journal.append(intent(0))
    known = layout.control.stat().st_size
    journal.append(intent(1))
    assert journal.history().next_submission == 2
    assert journal.history(until=known).next_submission == 1
    assert journal.history().next_submission == 2


def test_two_journals_of_one_sweep_number_their_facts_on(layout):
    one, other = ControlJournal(layout, "s"), ControlJournal(layout, "s")
    for number in range(3):
        one.append(intent(2 * number))
        other.append(intent(2 * number + 1))
    events = read_segment(layout.control, sweep="s", source="control", offset=0).events
    assert [event.seq for event in events] == list(range(6))


def test_facts_written_in_nested_blocks_follow_each_other(layout):
    journal = ControlJournal(layout, "s")
    with journal.locked():
        journal.append(intent(0))
        with journal.locked():
            journal.append(FeedingPlanned(launch=0, max_submit=5))
        journal.append(intent(1))
    events = read_segment(layout.control, sweep="s", source="control", offset=0).events
    assert [event.seq for event in events] == [0, 1, 2]
    assert journal.history().feeding == {0: 5}


def test_the_journal_of_a_new_sweep_in_the_directory_is_read_from_its_start(layout):
    earlier = ControlJournal(layout, "s")
    earlier.append(intent(0), intent(1), intent(2))
    assert earlier.history().next_submission == 3
    layout.control.unlink()
    ControlJournal(layout, "t").append(intent(0))
    assert earlier.history().next_submission == 1
