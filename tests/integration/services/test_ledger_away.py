"""A ledger that goes away while processes wait: they go on by the journals, and end."""

from __future__ import annotations

import errno
import os
import shutil

import pytest

from hpcorch.errors import UnavailableError
from hpcorch.journal.inbox import announced
from hpcorch.ledger import Ledger
from hpcorch.model.states import RunState
from hpcorch.services.adoption.inbox import take_over
from hpcorch.services.tending.steady import SteadyReconciler
from tests.support.lost_ledgers import GONE, LOSSES, SPOILT
from tests.support.sweeps import SWEEP, SweepOnDisk, finished_sweep
from tests.support.tuning import Tune

OTHER = "20260102-120000-cdfg"


def ended(sweep: SweepOnDisk, run: int) -> None:
    sweep.start(run).end(0.5)


def counts(ledger: Ledger) -> dict[RunState, int]:
    return ledger.counts(SWEEP)


@pytest.mark.parametrize("way", LOSSES)
def test_who_waits_sees_the_runs_end_whatever_becomes_of_the_ledger(sweep, way):
    told: list[str] = []
    with SteadyReconciler(sweep.ledger_path, sweep.journal, told.append) as steady:
        ended(sweep, 0)
        steady.ingest()
        assert steady.ask(counts)[RunState.COMPLETED] == 1
        LOSSES[way](sweep.ledger_path)
        ended(sweep, 1)
        for _ in range(3):
            steady.ingest()
            assert steady.ask(counts) == {RunState.COMPLETED: 2}
    assert len(told) == 1
    assert str(sweep.ledger_path) in told[0]


def test_a_record_that_cannot_be_read_for_a_moment_is_read_later(sweep, monkeypatch):
    def silent(*_: object, **__: object) -> object:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(sweep.layout.control))

    with SteadyReconciler(sweep.ledger_path, sweep.journal, lambda _: None) as steady:
        ended(sweep, 0)
        with monkeypatch.context() as patch:
            patch.setattr("hpcorch.services.tending.reconcile.read_sweep", silent)
            with pytest.raises(UnavailableError, match=f"record of sweep {SWEEP} cannot be read now"):
                steady.ingest()
        steady.ingest()
        assert steady.ask(counts)[RunState.COMPLETED] == 1


@pytest.mark.parametrize("way", GONE)
def test_a_ledger_that_is_gone_is_made_anew_with_the_sweep(sweep, way):
    finished_sweep(sweep.project, sweep=OTHER)
    with SteadyReconciler(sweep.ledger_path, sweep.journal, lambda _: None) as steady:
        steady.ingest()
        GONE[way](sweep.ledger_path)
        steady.ingest()
    with Ledger.open(sweep.ledger_path) as ledger:
        assert [one.sweep.id for one in ledger.sweeps()] == [SWEEP]
        assert ledger.check(deep=True) == []
        assert ledger.is_made_anew()


@pytest.mark.parametrize("way", SPOILT)
def test_what_is_in_a_ledgers_place_is_left_alone_and_the_news_wait_for_a_new_one(sweep, way):
    with SteadyReconciler(sweep.ledger_path, sweep.journal, lambda _: None) as steady:
        SPOILT[way](sweep.ledger_path)
        before = None if way == "a folder" else sweep.ledger_path.read_bytes()
        ended(sweep, 0)
        steady.ingest()
    assert before is None or sweep.ledger_path.read_bytes() == before
    assert dict(announced(sweep.ledger_path)) == {SWEEP: sweep.layout.directory}
    sweep.ledger_path.rename(sweep.ledger_path.with_name("damaged"))
    assert take_over(sweep.ledger_path) == []
    with Ledger.open(sweep.ledger_path) as ledger:
        assert counts(ledger)[RunState.COMPLETED] == 1
        assert ledger.is_made_anew()


def test_a_backup_in_the_ledgers_place_is_brought_up_to_date(sweep):
    backup = sweep.project / "backup.db"
    shutil.copy(sweep.ledger_path, backup)
    told: list[str] = []
    with SteadyReconciler(sweep.ledger_path, sweep.journal, told.append) as steady:
        ended(sweep, 0)
        steady.ingest()
        backup.replace(sweep.ledger_path)
        ended(sweep, 1)
        steady.ingest()
        assert steady.ask(counts) == {RunState.COMPLETED: 2}
    assert told == []
    with Ledger.open(sweep.ledger_path) as ledger:
        assert counts(ledger) == {RunState.COMPLETED: 2}
        assert ledger.check(deep=True) == []


def test_a_ledger_that_works_again_is_used_again(sweep, tune: Tune):
    tune(LEDGER_RETRY_S=0.0)
    kept = sweep.ledger_path.with_name("kept.db")
    with SteadyReconciler(sweep.ledger_path, sweep.journal, lambda _: None) as steady:
        steady.ingest()
        sweep.ledger_path.rename(kept)
        sweep.ledger_path.mkdir()
        steady.ingest()
        assert steady.ledger.path != sweep.ledger_path
        sweep.ledger_path.rmdir()
        kept.rename(sweep.ledger_path)
        ended(sweep, 0)
        steady.ingest()
        assert steady.ledger.path == sweep.ledger_path
    assert announced(sweep.ledger_path) == {}
    with Ledger.open(sweep.ledger_path) as ledger:
        assert counts(ledger)[RunState.COMPLETED] == 1


def test_a_project_that_was_removed_does_not_come_back(sweep, tmp_path_factory):
    project = tmp_path_factory.mktemp("project")
    path = project / ".hpcorch" / "ledger.db"
    with SteadyReconciler(path, sweep.journal, lambda _: None) as steady:
        steady.ingest()
        shutil.rmtree(project)
        ended(sweep, 0)
        steady.ingest()
        assert steady.ask(counts)[RunState.COMPLETED] == 1
    assert not project.exists()


def test_without_the_sweeps_record_the_ledger_still_answers(sweep):
    with SteadyReconciler(sweep.ledger_path, sweep.journal, lambda _: None) as steady:
        shutil.rmtree(sweep.layout.directory)
        steady.ingest()
        assert steady.is_gone
        assert steady.ask(counts) == {RunState.SUBMITTED: 2}
