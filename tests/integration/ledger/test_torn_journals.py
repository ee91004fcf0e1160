"""Journals that are cut off at any byte: what is whole counts, what is not is waited for, nothing is made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcorch.journal.reader import read_segment
from hpcorch.ledger import Ledger
from hpcorch.model import events as ev
from hpcorch.model.entities import Run
from hpcorch.model.states import RunState
from tests.support.sweeps import SweepOnDisk, make_sweep

pytestmark = pytest.mark.programs

RESULT = {"loss": 0.25}


def a_whole_journal(project: Path) -> bytes:
    """What an attempt that completed its run wrote."""
    sweep = make_sweep(project, [["x=0"]])
    attempt = sweep.start(0)
    attempt.end(RESULT)
    return attempt.journal.read_bytes()


def one_run_for_each_byte(project: Path, content: bytes, backend: str = "slurm") -> tuple[SweepOnDisk, list[Path]]:
    """A sweep of which run n left only the first n bytes of the journal."""
    count = len(content) + 1
    sweep = make_sweep(project, [[f"x={n}"] for n in range(count)], backend=backend)
    sweep.submit(range(count), job_id="7", backend=backend)
    paths = [sweep.layout.journals / f"{n}.s0.r0.jsonl" for n in range(count)]
    for n, path in enumerate(paths):
        path.write_bytes(content[:n])
    return sweep, paths


def runs(sweep: SweepOnDisk) -> list[Run]:
    sweep.ingest()
    with Ledger.open(sweep.ledger_path) as ledger:
        assert ledger.check(deep=True) == []
        return ledger.runs(sweep.id)


def expected(content: bytes, length: int) -> RunState:
    """What the whole lines among the first bytes support."""
    whole = content[:length].count(b"\n")
    if whole == content.count(b"\n"):
        return RunState.COMPLETED
    return RunState.RUNNING if whole else RunState.SUBMITTED


def test_a_journal_torn_at_any_byte_tells_what_its_whole_lines_tell_then_the_rest(
    tmp_path: Path,
) -> None:
    content = a_whole_journal(tmp_path / "model")
    sweep, paths = one_run_for_each_byte(tmp_path / "project", content)
    assert [run.state for run in runs(sweep)] == [expected(content, n) for n in range(len(content) + 1)]
    for path in paths:
        path.write_bytes(content)
    assert {(run.state, str(run.result)) for run in runs(sweep)} == {(RunState.COMPLETED, str(RESULT))}


def test_a_tail_that_is_shown_as_nul_bytes_is_waited_for(tmp_path: Path) -> None:
    content = a_whole_journal(tmp_path / "model")
    sweep, paths = one_run_for_each_byte(tmp_path / "project", content)
    for n, path in enumerate(paths):
        path.write_bytes(content[:n] + b"\0" * (len(content) - n))
    assert [run.state for run in runs(sweep)] == [expected(content, n) for n in range(len(content) + 1)]
    for path in paths:
        path.write_bytes(content)
    assert {run.state for run in runs(sweep)} == {RunState.COMPLETED}


def test_a_journal_cut_off_under_its_writer_is_believed_only_as_far_as_it_is_whole(tmp_path: Path) -> None:
    content = a_whole_journal(tmp_path / "model")
    sweep, paths = one_run_for_each_byte(tmp_path / "project", content)
    last = content.splitlines(keepends=True)[-1]
    for path in paths:
        path.write_bytes(path.read_bytes() + last)  # a writer in append mode goes on wherever the end is
    for n, run in enumerate(runs(sweep)):
        at_a_boundary = n in (0, len(content)) or content[n - 1 : n] == b"\n"
        assert (run.state is RunState.COMPLETED) == at_a_boundary, n


def test_a_control_journal_torn_at_any_byte_keeps_its_whole_facts_and_takes_more(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, [["x=0"]], backend="slurm")
    sweep.submit([0], job_id="7", backend="slurm")
    path = sweep.layout.control
    content = path.read_bytes()
    released = ev.SubmissionReleased(submission=0)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        before = read_segment(path, sweep=sweep.id, source="control", offset=0).events
        sweep.journal.append(released)
        after = read_segment(path, sweep=sweep.id, source="control", offset=0)
        assert after.rest == 0
        assert [event.seq for event in after.events] == list(range(len(before) + 1))
        assert after.events[: len(before)] == before
        assert len(sweep.journal.history().submissions) <= 1
