"""``hpcorch query`` and ``hpcorch ledger``."""

from __future__ import annotations

import csv
import io
import json
import sqlite3

import pytest

from tests.support.sweeps import SWEEP, finished_sweep


@pytest.fixture
def sweep(tmp_path):
    return finished_sweep(tmp_path)


def test_a_query_is_answered_as_table_json_or_csv(hpcorch, sweep):
    sql = "SELECT run, state, error FROM v_runs ORDER BY run"
    assert hpcorch("query", sql).out.splitlines() == [
        "RUN  STATE      ERROR",
        "0    COMPLETED",
        "1    FAILED     ValueError: no good",
    ]
    assert json.loads(hpcorch("query", "--json", sql).out)[1] == {
        "run": 1,
        "state": "FAILED",
        "error": "ValueError: no good",
    }
    rows = list(csv.reader(io.StringIO(hpcorch("query", "--csv", sql).out)))
    assert rows == [["run", "state", "error"], ["0", "COMPLETED", ""], ["1", "FAILED", "ValueError: no good"]]


def test_values_that_json_has_not_are_printed_all_the_same(hpcorch, sweep):
    ran = hpcorch("query", "--json", "SELECT x'00ff' AS bytes, 9e999 AS much, 1 AS a, 2 AS a, NULL AS none")
    assert json.loads(ran.out) == [{"bytes": "00ff", "much": "inf", "a": 1, "a_2": 2, "none": None}]


def test_a_query_without_rows_has_its_columns(hpcorch, sweep):
    assert hpcorch("query", "SELECT run FROM v_runs WHERE run > 9").out == "RUN\n"
    assert hpcorch("query", "--json", "SELECT run FROM v_runs WHERE run > 9").out == "[]\n"


@pytest.mark.parametrize("sql", ["DELETE FROM events", "SELECT", "SELECT * FROM nothing", "", "SELECT 1; SELECT 2"])
def test_a_query_that_is_none_exits_with_2_and_changes_nothing(hpcorch, sweep, sql):
    before = sweep.ledger_path.read_bytes()
    ran = hpcorch("query", sql)
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 1
    assert sweep.ledger_path.read_bytes() == before


def test_a_query_takes_one_form(hpcorch, sweep):
    assert hpcorch("query", "--json", "--csv", "SELECT 1").code == 2


def test_check_finds_a_ledger_whole(hpcorch, sweep):
    ran = hpcorch("ledger", "check")
    assert ran.code == 0
    assert "is whole" in ran.out
    checked = json.loads(hpcorch("ledger", "check", "--json").out)
    assert checked["findings"] == []
    assert checked["head"]["digest"].startswith("sha256:")


def test_check_finds_what_was_edited_and_rebuild_puts_tables_right(hpcorch, sweep):
    _edit(sweep, "UPDATE runs SET state = 'COMPLETED' WHERE run = 1")
    ran = hpcorch("ledger", "check")
    assert ran.code == 1
    assert SWEEP in ran.out
    assert "projection" in {
        finding["kind"] for finding in json.loads(hpcorch("ledger", "check", "--json").out)["findings"]
    }
    rebuilt = hpcorch("ledger", "rebuild", "--json")
    assert (rebuilt.code, json.loads(rebuilt.out)["runs"]) == (0, 2)
    assert hpcorch("ledger", "check").code == 0


def test_an_edited_event_shows_and_cannot_be_rebuilt_away(hpcorch, sweep):
    _edit(sweep, "UPDATE events SET time = '2020-01-01T00:00:00.000000Z' WHERE seq = 3")
    assert hpcorch("ledger", "check").code == 1
    hpcorch("ledger", "rebuild")
    ran = hpcorch("ledger", "check")
    assert ran.code == 1
    assert "event 3" in ran.out


def _edit(sweep, sql: str) -> None:
    connection = sqlite3.connect(sweep.ledger_path)
    for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute(sql)
    connection.commit()
    connection.close()


def test_ledger_backup_copies_and_overwrites_nothing(hpcorch, sweep, tmp_path):
    target = tmp_path / "copy.db"
    ran = hpcorch("ledger", "backup", str(target))
    assert ran.code == 0
    assert ran.out.startswith(f"{target}: ")
    assert hpcorch("--ledger", str(target), "ledger", "check", "--deep").code == 0
    again = hpcorch("ledger", "backup", "--json", str(target))
    assert (again.code, again.out) == (2, "")
    assert f"the file {target} exists already" in again.err
    other = json.loads(hpcorch("ledger", "backup", "--json", str(tmp_path / "other.db")).out)
    assert other["head"] == json.loads(hpcorch("ledger", "check", "--json").out)["head"]
