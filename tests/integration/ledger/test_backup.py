"""Backups and checks of a ledger that others use at the same time, and what each form of check finds."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hpcorch.errors import UnavailableError, UsageError
from hpcorch.ledger import Ledger
from hpcorch.ledger.checking.check import Finding, FindingKind
from hpcorch.ledger.writing.rows import digest_of
from tests.support import processes
from tests.support.events import SWEEP, make_ledger, small_sweep, tables
from tests.support.tuning import Tune

# A process that stores sweep after sweep, and says so after each.
_WRITER = """
import itertools, sys
from hpcorch.ledger import Ledger
from tests.support.events import small_sweep
for number in itertools.count():
    with Ledger.open(sys.argv[1], write=True) as ledger:
        small_sweep(ledger, 20, sweep=f"w{number}")
    print(f"w{number}", flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_ledger(tmp_path)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, empty."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_backup_is_the_ledger_for_its_owner_alone(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    with Ledger.open(path) as ledger:
        assert ledger.back_up(target) == ledger.head()
        with Ledger.open(target) as copy:
            assert tables(copy) == tables(ledger)
            assert copy.check(deep=True) == []
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_backup_beside_a_ledger_that_a_group_shares_is_the_groups(path: Path, tmp_path: Path) -> None:
    shared = tmp_path / ".hpcorch"
    shared.mkdir()
    shared.chmod(0o2770)
    with Ledger.open(path) as ledger:
        ledger.back_up(shared / "copy.db")
    assert stat.S_IMODE((shared / "copy.db").stat().st_mode) == 0o660


def test_backup_overwrites_nothing(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    with Ledger.open(path) as ledger, pytest.raises(UsageError, match="name one that does not exist"):
        ledger.back_up(target)
    assert target.read_text() == "precious"


def test_place_that_cannot_hold_a_backup_is_a_sentence(path: Path, tmp_path: Path) -> None:
    with Ledger.open(path) as ledger, pytest.raises(UnavailableError, match="check that its folder exists"):
        ledger.back_up(tmp_path / "absent" / "copy.db")


def test_backup_while_another_process_writes_is_whole(path: Path, tmp_path: Path, repository: Path) -> None:
    command = [sys.executable, "-c", _WRITER, str(path)]
    with processes.start(command, stdout=subprocess.PIPE, text=True, cwd=repository) as writer:
        try:
            assert writer.stdout is not None
            told = {SWEEP}
            for number in range(4):
                told.add(writer.stdout.readline().strip())
                target = tmp_path / f"copy-{number}.db"
                with Ledger.open(path) as ledger:
                    ledger.back_up(target)
                with Ledger.open(target) as copy:
                    assert copy.check() == []
                    assert told <= {summary.sweep.id for summary in copy.sweeps()}
        finally:
            writer.kill()


def test_check_leaves_the_ledger_to_writers_and_no_files(
    path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, tune: Tune
) -> None:
    def write_meanwhile(_: sqlite3.Connection) -> Iterator[Finding]:
        with Ledger.open(path, write=True) as writer:
            small_sweep(writer, sweep="meanwhile")
        assert list(temporary.iterdir()), "there is no copy to look at"
        return iter(())

    tune(LEDGER_WRITER_WAIT_S=0.1)
    monkeypatch.setattr("hpcorch.ledger.checking.examination.check_file", write_meanwhile)
    with Ledger.open(path) as ledger:
        assert ledger.check() == []
        assert ledger.sweep("meanwhile").runs == 3
    assert list(temporary.iterdir()) == []


def test_deep_check_finds_a_row_that_was_edited_together_with_its_digest(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE runs SET result = '0.99' WHERE run = 0")
        (*row, _) = connection.execute("SELECT * FROM runs WHERE run = 0").fetchone()
        connection.execute("UPDATE runs SET digest = ? WHERE run = 0", (digest_of(tuple(row)),))
    with Ledger.open(path) as ledger:
        assert ledger.check() == []
        (finding,) = ledger.check(deep=True)
    assert finding.kind is FindingKind.PROJECTION
    assert "the row of runs with key 0 is missing or not what its events say" in finding.text


def test_several_processes_find_what_one_finds(path: Path, tune: Tune) -> None:
    tune(LEDGER_PART_EVENTS=3)
    tune(LEDGER_SLICE_RUNS=1)
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in (
            "DROP TRIGGER events_refuse_update",
            "DROP TRIGGER events_refuse_delete",
            "UPDATE events SET time = 'never' WHERE seq = 4",
            "DELETE FROM events WHERE seq = 6",
            "UPDATE attempts SET node = 'n9' WHERE run = 1",
            "UPDATE tallies SET runs = 7",
        ):
            connection.execute(statement)
    with Ledger.open(path) as ledger:
        alone, together = ledger.check(), ledger.check(processes=2)
    assert together == alone
    texts = " ".join(finding.text for finding in alone)
    for part in ("event 4 ", "events 6 to 6 are missing", "attempts with key 1 was changed", "counts of runs"):
        assert part in texts
