"""``hpcorch.Ledger`` in a notebook that stays open for hours, while sweeps go on and others write."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

import hpcorch
from hpcorch.errors import NotFoundError, UnavailableError, UsageError
from hpcorch.journal.inbox import announce
from hpcorch.journal.layout import SweepLayout, inbox_folder
from hpcorch.ledger import Ledger as OpenLedger
from tests.support.command_line import CommandLine
from tests.support.events import small_sweep
from tests.support.sweeps import SWEEP, SweepOnDisk, finished_sweep


@pytest.fixture
def sweep(tmp_path) -> SweepOnDisk:
    return finished_sweep(tmp_path)


def ask_everything(ledger: hpcorch.Ledger) -> None:
    ledger.sweeps()
    ledger.runs()
    ledger.attempts()
    ledger.checkpoints()
    ledger.events()
    ledger.table(config="lr")
    ledger.query("SELECT * FROM v_runs")


def test_nothing_is_left_open_that_would_keep_a_writer_out(sweep):
    with hpcorch.Ledger() as ledger:
        ask_everything(ledger)
        with pytest.raises(UsageError):
            ledger.query("SELECT nonsense")
        writer = sqlite3.connect(sweep.ledger_path, timeout=0, isolation_level=None)
        try:
            writer.execute("BEGIN EXCLUSIVE")
            writer.execute("ROLLBACK")
        finally:
            writer.close()
        opened = {file.path for file in psutil.Process().open_files()}
        assert not any(path.startswith(str(sweep.ledger_path)) for path in opened)


def test_answers_are_from_the_file_that_is_there_now(sweep, tmp_path, capsys):
    command_line, ledger = CommandLine(capsys), hpcorch.Ledger()
    assert ledger.sweep().runs == 2
    assert command_line("ledger", "rebuild").code == 0
    assert ledger.sweep().runs == 2
    with OpenLedger.open(tmp_path / "restored.db", write=True, create=True) as writer:
        small_sweep(writer, runs=5)
    (tmp_path / "restored.db").replace(sweep.ledger_path)
    assert ledger.sweep().runs == 5
    sweep.ledger_path.unlink()
    with pytest.raises(NotFoundError):
        ledger.sweep()


def test_a_ledger_that_cannot_be_written_is_read_as_it_is(sweep, monkeypatch):
    announce(sweep.ledger_path, "20990101-000000-aaaa", SweepLayout(sweep.project / "sweeps" / SWEEP))

    def refuse(path, **options):
        if options.get("write"):
            raise UnavailableError(f"the ledger {path} cannot be written")
        return opened(path, **options)

    opened = OpenLedger.open
    monkeypatch.setattr(OpenLedger, "open", refuse)
    assert len(hpcorch.Ledger().runs(SWEEP)) == 2
    with pytest.raises(NotFoundError, match="has an id that begins with '2099'"):
        hpcorch.Ledger().runs("2099")


def test_another_users_ledger_whose_inbox_is_private_is_read(sweep, monkeypatch):
    def refuse(folder):
        if folder == inbox_folder(sweep.ledger_path):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", refuse)
    assert len(hpcorch.Ledger().runs(SWEEP)) == 2


def test_threads_may_ask_while_others_write(sweep, tune):
    tune(LEDGER_READER_WAIT_S=60.0)
    ledger = hpcorch.Ledger()

    def ask(_: int) -> int:
        return len(ledger.runs(SWEEP)) + len(ledger.table(SWEEP)["run"])

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(ask, number) for number in range(40)]
        for number in range(10):
            with OpenLedger.open(sweep.ledger_path, write=True) as writer:
                small_sweep(writer, sweep=f"20260201-0000{number:02d}-bbbb")
        assert {answer.result() for answer in answers} == {4}
    assert len(ledger.sweeps()) == 11


def test_a_forked_process_may_ask(sweep):
    program = (
        "import os, hpcorch\n"
        "ledger = hpcorch.Ledger(); ledger.runs()\n"
        "pid = os.fork()\n"
        "runs = len(ledger.runs())\n"
        "if not pid: os._exit(runs)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), runs)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert done.stdout.split() == ["2", "2"]
