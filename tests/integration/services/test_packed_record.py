"""What a packed task records of its runs, and what it leaves to others to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lines import JournalWriter
from hpcorch.model import events as ev
from hpcorch.model.ids import AttemptId
from hpcorch.services.packing.record import TaskRecord

ATTEMPT = AttemptId(run=3, submission=0, restart=0)


@pytest.fixture
def journal(tmp_path: Path) -> ControlJournal:
    layout = SweepLayout(tmp_path)
    layout.journals.mkdir(parents=True)
    journal = ControlJournal(layout, "s")
    intended = {"submission": 0, "launch": 0, "runs": "0-9", "token": "t", "script": "x"}
    journal.append(ev.SubmissionIntended(**intended, backend="slurm", host="login", tasks=2))
    return journal


@pytest.fixture
def record(journal: ControlJournal) -> TaskRecord:
    return TaskRecord(ControlJournal(journal.layout, "s"), 0, "n1")


def words(journal: ControlJournal) -> list[tuple[int, str]]:
    return [(word.run, word.state) for word in journal.history().observed.values()]


def test_a_run_whose_process_left_no_word_has_failed(journal, record):
    record.note_end(ATTEMPT, 7, 1, is_stopping=False)
    assert words(journal) == [(3, "FAILED")]


def test_nothing_is_said_of_a_run_that_another_task_is_about_to_claim(journal, record):
    with JournalWriter.create(journal.layout.journal(ATTEMPT)) as others:
        record.note_end(ATTEMPT, 7, 1, is_stopping=False)
        others.append(ev.AttemptClaimed(host="n2", pid=7, array_task=1, job_restart=0))
        record.note_end(ATTEMPT, 7, 1, is_stopping=False)
    assert words(journal) == []


def test_a_task_outlives_a_journal_that_cannot_be_read(journal, record, capsys):
    journal.layout.journal(ATTEMPT).mkdir()
    assert not record.note_end(ATTEMPT, 7, 1, is_stopping=False)
    assert words(journal) == []
    assert "how run 3 ended cannot be read" in capsys.readouterr().err


def test_runs_that_were_cancelled_while_they_waited_are_recorded_together(journal, record):
    journal.append(ev.ControlRequested(submission=0, action="cancel", runs="2-4", user="u", uid=1, host="login"))
    over = [run for run in range(10) if record.is_over(AttemptId(run=run, submission=0, restart=0))]
    assert over == [2, 3, 4]
    assert words(journal) == []
    record.note_cancelled()
    assert words(journal) == [(run, "CANCELLED") for run in over]
    record.note_cancelled()
    assert len(words(journal)) == len(over)
