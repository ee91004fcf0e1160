"""A journal stays the attempt's own, whatever the program does to descriptors."""

from __future__ import annotations

import os

import pytest

from hpcorch.journal.lines import JournalWriter
from hpcorch.journal.reader import read_segment
from hpcorch.model.events import AttemptCalled


def kinds(path) -> list[str]:
    return [event.fact.kind for event in read_segment(path, sweep="", source="", offset=0).events]


def test_a_journal_goes_on_in_its_own_file_when_a_program_has_closed_its_descriptor_and_opened_another(tmp_path):
    path, data = tmp_path / "journal.jsonl", tmp_path / "data"
    with JournalWriter.create(path) as journal:
        journal.append(AttemptCalled())
        opened = journal._descriptor
        other = os.open(data, os.O_WRONLY | os.O_CREAT)
        os.dup2(other, opened)  # closes it, too
        os.close(other)
        journal.append(AttemptCalled(), durable=True)
    os.write(opened, b"mine")
    os.close(opened)
    assert data.read_bytes() == b"mine"
    assert len(kinds(path)) == 2


def test_a_journal_that_is_another_file_by_now_is_not_written_to(tmp_path):
    path = tmp_path / "journal.jsonl"
    with JournalWriter.create(path) as journal:
        os.close(journal._descriptor)
        path.rename(tmp_path / "old")
        path.write_bytes(b"")
        with pytest.raises(OSError, match="Stale file handle"):
            journal.append(AttemptCalled())
    assert path.read_bytes() == b""
