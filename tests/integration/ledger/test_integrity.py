"""The ledger tells the truth: edits show, tables can be made anew, and whatever dies, it stays whole."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from hpcorch.errors import HpcorchError, RecordError, UnavailableError
from hpcorch.journal.lock import Hold, LockLostError, leave_behind
from hpcorch.ledger import Ledger
from hpcorch.ledger.checking.check import FindingKind
from hpcorch.ledger.file import LedgerFile
from hpcorch.ledger.schema.connection import VERSION, LedgerConnection, connect_writer, lock_of, transaction
from hpcorch.model import events as ev
from hpcorch.model.states import RunState
from tests.support import events, processes
from tests.support.events import SWEEP, make_ledger, plan_of, segment, small_sweep, tables
from tests.support.tuning import Tune


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_ledger(tmp_path)


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def findings(path: Path) -> list[FindingKind]:
    with Ledger.open(path) as ledger:
        return [finding.kind for finding in ledger.check()]


def snapshot(path: Path) -> dict[str, object]:
    with Ledger.open(path) as ledger:
        return tables(ledger)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET body = '{}' WHERE seq = 3",
        "DELETE FROM events WHERE seq = 3",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events SELECT * FROM events WHERE seq = 3",
        "REPLACE INTO events SELECT 99, source, source_seq, sweep, run, kind, time, body, hash FROM events LIMIT 1",
        "INSERT INTO events SELECT 999, source, 999, sweep, run, kind, time, body, hash FROM events LIMIT 1",
    ],
)
def test_events_cannot_be_changed_or_removed(path: Path, statement: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        execute(path, statement)
    assert findings(path) == []


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE events SET body = replace(body, '4711', '4712') WHERE kind = 'submission-accepted'",
        "UPDATE events SET time = '2020-01-01T00:00:00.000000Z' WHERE seq = 5",
        "UPDATE events SET kind = 'attempt-called' WHERE seq = 5",
        "UPDATE events SET run = 7 WHERE seq = 10",
        "UPDATE events SET source_seq = 77 WHERE seq = 5",
        "UPDATE events SET hash = zeroblob(32) WHERE seq = 5",
        "UPDATE sources SET name = '2.s0.r0' WHERE name = '0.s0.r0'",
        "UPDATE sweep_ids SET id = 'another'",
        "DELETE FROM events WHERE seq = 5",
        "DELETE FROM events WHERE seq = 1",
    ],
)
def test_an_edit_behind_the_triggers_back_is_found(path: Path, edit: str) -> None:
    execute(path, "DROP TRIGGER events_refuse_update", "DROP TRIGGER events_refuse_delete")
    execute(path, edit)
    assert FindingKind.CHAIN in findings(path)


def test_flipped_byte_in_the_file_is_found(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(b"ValueError: no")
    content[at] ^= 1
    path.write_bytes(content)
    assert set(findings(path)) & {FindingKind.CHAIN, FindingKind.PROJECTION}


def test_overwritten_pages_are_a_finding_or_a_sentence(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 6] = os.urandom(4096 * 3)
    path.write_bytes(content)
    try:
        assert findings(path)
    except RecordError as error:
        assert str(path) in str(error)  # noqa: PT017


_ONE_RUN_MORE = (
    "INSERT INTO runs (sweep, run, planned, launch, state, attempts, lingers, digest)"
    " VALUES (1, 9, 1, 0, 'LOST', 0, 0, '')"
)


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE runs SET state = 'COMPLETED'",
        "UPDATE runs SET result = '0.99' WHERE run = 0",
        "DELETE FROM runs WHERE run = 2",
        _ONE_RUN_MORE,
        "UPDATE runs SET state = 'LSOT' WHERE run = 0",
        "UPDATE tallies SET state = 'LSOT' WHERE state = 'FAILED'",
        "DELETE FROM attempts",
        "UPDATE attempts SET node = 'n9'",
        "UPDATE tallies SET runs = runs + 1",
        "UPDATE submissions SET job_id = '1'",
        "UPDATE sweeps SET state = 'COMPLETED'",
        "DELETE FROM sweeps",
        "DELETE FROM launches",
        "DELETE FROM bases",
    ],
)
def test_edited_table_is_found_and_made_anew_from_the_events(path: Path, edit: str) -> None:
    before = snapshot(path)
    execute(path, edit)
    assert set(findings(path)) == {FindingKind.PROJECTION}
    with Ledger.open(path, write=True) as ledger:
        assert ledger.rebuild() == 3
    assert snapshot(path) == before
    assert findings(path) == []


@pytest.mark.parametrize(
    "edit",
    [
        ["DROP VIEW v_runs", "CREATE VIEW v_runs AS SELECT 666 AS result FROM runs"],
        ["DROP VIEW v_runs", "CREATE TABLE v_runs (result)"],
        ["DROP TRIGGER events_refuse_update"],
        ["DROP INDEX runs_by_state"],
        ["DROP INDEX events_of_run", "CREATE INDEX events_of_run ON events (seq)"],
    ],
)
def test_altered_schema_is_found_and_made_anew(path: Path, edit: list[str]) -> None:
    execute(path, *edit)
    assert findings(path) == [FindingKind.FILE]
    with Ledger.open(path, write=True) as ledger:
        ledger.rebuild()
    assert findings(path) == []


def test_a_table_that_is_none_of_a_ledgers_is_found(path: Path) -> None:
    execute(path, "CREATE TABLE mine (x)")
    assert findings(path) == [FindingKind.FILE]


_INDICES_OF_VERSION_3 = (
    "DROP INDEX events_told_often",
    "DROP INDEX events_of_run",
    "CREATE INDEX events_of_run ON events (sweep, run) WHERE run IS NOT NULL",
)


def test_ledger_of_an_older_version_is_migrated_after_a_backup(path: Path) -> None:
    before = snapshot(path)
    views = ("v_sweeps", "v_runs", "v_params", "v_attempts", "v_failures", "v_submissions", "v_events")
    newer = ("v_checkpoints", "v_metrics")
    derived = ("sweeps", "tallies", "launches", "bases", "submissions", "runs", "attempts")
    execute(
        path,
        *(f"DROP VIEW {name}" for name in (*views, *newer)),
        *(f"DROP TABLE {name}" for name in (*derived, "made_anew")),
        *_INDICES_OF_VERSION_3,
        "DROP INDEX events_of_submission",
        "DROP INDEX events_by_key",
        "CREATE INDEX events_of_sweep ON events (sweep) WHERE run IS NULL",
        "DELETE FROM _sqlite_migrations WHERE name <> '0001_events'",
        "PRAGMA user_version = 1",
    )
    assert snapshot(path) == before  # a reader's open is enough
    backup = path.with_name("ledger.db.v1.backup")
    with closing(sqlite3.connect(backup)) as old:
        assert old.execute("PRAGMA user_version").fetchone() == (1,)
        assert old.execute("SELECT count(*) FROM events").fetchone()[0] == len(before["events"])  # type: ignore[arg-type]
    assert backup.stat().st_mode & 0o077 == 0
    assert findings(path) == []


def test_ledger_that_holds_checkpoints_as_events_alone_shows_them_once_migrated(path: Path) -> None:
    saved = ev.CheckpointSaved(step=3, file="c/3", size=1, digest="sha256:3", seconds=0.1)
    with Ledger.open(path, write=True) as ledger:
        ledger.ingest(SWEEP, [segment("0.s0.r1", [*events.attempt()[:4], saved])], plan_of)
    before = snapshot(path)
    execute(
        path,
        "DROP VIEW v_attempts",
        "ALTER TABLE attempts DROP COLUMN checkpoint",
        *_INDICES_OF_VERSION_3,
        "DELETE FROM _sqlite_migrations WHERE name = '0004_checkpoints'",
        "PRAGMA user_version = 3",
    )
    assert snapshot(path) == before
    with Ledger.open(path) as ledger:
        assert ledger.attempts(SWEEP, 0)[-1].checkpoint == "c/3"
        assert ledger.check(deep=True) == []


def test_ledger_of_a_newer_version_is_refused(path: Path) -> None:
    execute(path, f"PRAGMA user_version = {VERSION + 1}")
    for write in (False, True):
        with pytest.raises(RecordError, match=f"has version {VERSION + 1}, and this hpcorch knows"):
            Ledger.open(path, write=write)


def test_foreign_file_is_refused(tmp_path: Path) -> None:
    text, database = tmp_path / "notes.txt", tmp_path / "other.db"
    text.write_text("not a database, and long enough to have a header of a hundred bytes" * 4)
    execute(database, "CREATE TABLE notes (text)")
    for path in (text, database):
        before = path.read_bytes()
        for write in (False, True):
            with pytest.raises(RecordError, match="not a ledger"):
                Ledger.open(path, write=write, create=write)
        assert path.read_bytes() == before


def test_reader_is_served_while_a_writer_is_at_work(path: Path, tune: Tune) -> None:
    tune(LEDGER_READER_WAIT_S=0.0)
    with closing(connect_writer(path)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE sweep_ids SET looked_at = 'now'")
        with Ledger.open(path) as ledger:
            assert ledger.counts(SWEEP)[RunState.COMPLETED] == 1
        writer.execute("ROLLBACK")


def test_ledger_that_stays_locked_is_a_transient_error(path: Path, tune: Tune) -> None:
    tune(LEDGER_READER_WAIT_S=0.1)
    with closing(connect_writer(path)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UnavailableError, match="in use by another process"):
            Ledger.open(path)
        writer.execute("ROLLBACK")


# A process that stores one sweep after another, and says which it was told are stored.
_HAMMER = """
import sys, time
from pathlib import Path
from hpcorch.ledger import Ledger
from tests.support.events import small_sweep
name, path, seconds, runs = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
until, number = time.monotonic() + seconds, 0
while time.monotonic() < until:
    with Ledger.open(path, write=True) as ledger:
        small_sweep(ledger, runs, sweep=f"{name}-{number}")
    print(f"{name}-{number}", flush=True)
    number += 1
"""


def hammer(path: Path, name: str, seconds: float, repository: Path, runs: int = 3) -> processes.Program:
    command = [sys.executable, "-c", _HAMMER, name, str(path), str(seconds), str(runs)]
    return processes.start(command, stdout=subprocess.PIPE, text=True, cwd=repository)


def test_lock_of_a_writer_that_died_while_making_it_is_taken_over(path: Path, tune: Tune) -> None:
    tune(LOCK_LEASE_S=0.5, LOCK_WATCH_S=0.2)
    path.with_name("ledger.db.lock.7").touch()
    with Ledger.open(path, write=True) as ledger:
        small_sweep(ledger, sweep="after")
        assert len(ledger.sweeps()) == 2


def test_two_processes_writing_at_once_lose_nothing(path: Path, repository: Path) -> None:
    writers = [hammer(path, name, 2, repository) for name in ("a", "b")]
    stored = [line for writer in writers for line in writer.communicate(timeout=120)[0].split()]
    assert [writer.returncode for writer in writers] == [0, 0]
    with Ledger.open(path) as ledger:
        found = {summary.sweep.id: summary.runs for summary in ledger.sweeps()}
        assert found == dict.fromkeys([SWEEP, *stored], 3)
        assert {name[0] for name in stored} == {"a", "b"}, "one writer kept the other out"
        assert ledger.check() == []


def is_in_a_transaction(path: Path) -> bool:
    """Whether a writer's rollback journal says how to undo what it is about to do."""
    journal = path.with_name("ledger.db-journal")
    return journal.exists() and journal.stat().st_size > 0


def test_kill_in_the_middle_of_writing_leaves_a_ledger_that_check_accepts(path: Path, repository: Path) -> None:
    told: list[str] = []
    for attempt in range(4):
        writer = hammer(path, f"k{attempt}", 60, repository, runs=200)
        assert writer.stdout is not None
        told.append(writer.stdout.readline().strip())
        while not is_in_a_transaction(path) and writer.poll() is None:
            time.sleep(0.001)
        time.sleep(0.01 * attempt)
        writer.send_signal(signal.SIGKILL)
        told += writer.communicate()[0].split()
        with Ledger.open(path) as ledger:
            assert ledger.check() == []
    with Ledger.open(path, write=True) as ledger:
        assert set(told) <= {summary.sweep.id for summary in ledger.sweeps()}
        small_sweep(ledger, sweep="after")
        assert ledger.check() == []


def test_reader_puts_right_what_a_killed_writer_left(path: Path) -> None:
    before = snapshot(path)
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom hpcorch.ledger.schema.connection import connect_writer\n"
        "db = connect_writer(Path(sys.argv[1]))\ndb.execute('PRAGMA cache_size=2')\n"
        "db.execute('BEGIN')\ndb.execute('UPDATE runs SET error = hex(zeroblob(200000))')\n"
        "db.execute('UPDATE attempts SET error = hex(zeroblob(200000))')\nos.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert is_in_a_transaction(path), "the writer left nothing to put right"
    assert snapshot(path) == before
    assert findings(path) == []


def leave_locked(path: Path) -> None:
    """Leave a ledger as a writer does that dies."""
    for file in path.parent.glob("*.lock.*"):
        file.unlink()
    leave_behind(lock_of(path))


def test_a_copy_that_was_not_finished_is_removed_by_the_next(path: Path) -> None:
    left = path.with_name(f".{path.name}.0a1b2c3d.renewed")
    left.write_bytes(b"half")
    leave_locked(path)
    assert [one.sweep.id for one in Ledger.open(path).sweeps()] == [SWEEP]
    assert not left.exists()


@pytest.fixture
def left_by_the_dead(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger whose last writer has died, on a disk that has no room for a copy of it."""

    def no_room(*_: object) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    leave_locked(path)
    monkeypatch.setattr("hpcorch.ledger.file._copied", no_room)
    return path


def test_who_reads_is_answered_where_a_writer_died_and_the_disk_is_full(left_by_the_dead: Path) -> None:
    assert [one.sweep.id for one in Ledger.open(left_by_the_dead).sweeps()] == [SWEEP]


def test_who_writes_is_told_where_a_writer_died_and_the_disk_is_full(left_by_the_dead: Path) -> None:
    with pytest.raises(UnavailableError, match=f"{os.strerror(errno.ENOSPC)}.*free some space"):
        Ledger.open(left_by_the_dead, write=True)


def lost(_: Hold) -> None:
    raise LockLostError("another process has taken it over")


@pytest.mark.parametrize("write", [False, True])
def test_what_was_opened_after_the_lock_was_lost_is_not_touched(
    path: Path, monkeypatch: pytest.MonkeyPatch, write: bool
) -> None:
    """What SQLite reads first may make it undo what another writer is about to do."""
    executed: list[str] = []
    monkeypatch.setattr(Hold, "confirm", lost)
    monkeypatch.setattr(LedgerConnection, "execute", lambda _, sql: executed.append(sql))
    with pytest.raises(LockLostError):
        Ledger.open(path, write=write)
    assert executed == []


def test_no_transaction_begins_after_the_lock_was_lost(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LedgerFile(path, write=True).opened() as connection:
        monkeypatch.setattr(Hold, "confirm", lost)
        with pytest.raises(LockLostError), transaction(connection):
            pytest.fail("it began")
        assert not connection.in_transaction


def test_an_older_ledger_is_not_changed_by_who_has_lost_its_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(path, f"PRAGMA user_version = {VERSION - 1}")
    monkeypatch.setattr(Hold, "confirm", lost)
    for write in (False, True):
        with pytest.raises(LockLostError):
            Ledger.open(path, write=write)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION - 1,)


@pytest.mark.parametrize(
    ("offset", "value"), [(18, 9), (19, 2), (36, 231), (39, 3), (35, 3), (47, 1), (51, 9), (67, 1), (80, 1)]
)
def test_a_header_that_would_stop_a_writer_is_found(path: Path, offset: int, value: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] = value
    path.write_bytes(content)
    try:
        with Ledger.open(path) as ledger:
            found = [finding.text for finding in ledger.check()]
    except HpcorchError as error:
        found = [str(error)]
    assert found


@pytest.mark.parametrize(
    ("alter", "named"),
    [
        ("UPDATE sources SET settled = 1", "how its journals were read"),
        ("UPDATE sources SET offset = -1", "how its journals were read"),
        ("UPDATE sweep_ids SET looked_at = 'x'", "how its journals were read"),
        ("UPDATE sweep_ids SET looked_at = 7", "how its journals were read"),
        ("UPDATE _sqlite_migrations SET applied_at = 'x' WHERE id = 1", "which migrations it has had"),
    ],
)
def test_a_note_that_was_altered_is_found_and_made_anew(path: Path, alter: str, named: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(alter)
        connection.commit()
    with Ledger.open(path, write=True) as ledger:
        assert any(named in finding.text for finding in ledger.check())
        ledger.rebuild()
        assert ledger.check() == []


@pytest.mark.parametrize(("table", "is_rebuilt"), [("runs", True), ("_sqlite_migrations", True), ("events", False)])
def test_a_table_with_another_definition_is_found_with_a_cure_that_works(
    path: Path, table: str, is_rebuilt: bool
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"ALTER TABLE {table} ADD COLUMN more")
    with Ledger.open(path, write=True) as ledger:
        told = "\n".join(finding.text for finding in ledger.check())
        ledger.rebuild()
        left = ledger.check()
    assert f"table {table} was altered" in told
    assert ("ledger rebuild" in told) == is_rebuilt == (not left)
    assert ("ledger adopt" in told) == (not is_rebuilt)
