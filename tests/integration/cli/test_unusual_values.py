"""nan, infinities and integers of any size, as parameters and results: numbers, shown, sorted and found."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

import hpcorch as api
from hpcorch.model.values import same
from tests.support.sweeps import SweepOnDisk, make_sweep

LONG = 10**5000
DIGITS = f"1{'0' * 5000}"
VALUES = [0.25, math.nan, math.inf, -math.inf, 10**400, 10**400 + 1, LONG, -(2**63) - 1]
WRITTEN = ["0.25", "nan", "inf", "-inf", str(10**400), str(10**400 + 1), DIGITS, str(-(2**63) - 1)]


@pytest.fixture
def sweep(tmp_path) -> SweepOnDisk:
    """Each value once as a parameter, and as the result of the same run."""
    made = make_sweep(tmp_path, [[f"clip={text}"] for text in WRITTEN])
    made.submit(range(len(VALUES)))
    for run, value in enumerate(VALUES):
        made.start(run).end(value)
    made.ingest()
    return made


def test_they_are_numbers_in_python(sweep):
    runs = api.Ledger().runs()
    assert same([run.params["clip"] for run in runs], VALUES)
    assert same([run.result for run in runs], VALUES)
    assert same([attempt.result for attempt in api.Ledger().attempts()], VALUES)
    assert max(runs, key=lambda run: run.result).run == 2


def test_tables_csv_and_json_have_them(hpcorch, sweep):
    for command in ("collect", "compare"):
        rows = list(csv.DictReader(io.StringIO(hpcorch(command, "--csv").out)))
        assert [(row["clip"], row["result"]) for row in rows] == list(zip(WRITTEN, WRITTEN, strict=True))
        assert " nan " in hpcorch(command).out
    found = json.loads(hpcorch("collect", "--json").out)
    assert [run["result"] for run in found] == [0.25, "nan", "inf", "-inf", *VALUES[4:6], DIGITS, VALUES[7]]
    assert [run["params"]["clip"] for run in found] == [run["result"] for run in found]
    for number in range(len(VALUES)):
        assert hpcorch("show", f"last/{number}").code == 0
        assert json.loads(hpcorch("show", f"last/{number}", "--json", "--events").out)["index"] == number
    assert hpcorch("status").code == 0
    assert hpcorch("diff", "last/5", "last/4").code == 1
    changed = json.loads(hpcorch("diff", "last/5", "last/4", "--json").out)["result"]
    assert changed == [{"what": "result", "before": VALUES[5], "after": VALUES[4]}]


def test_they_are_sorted_exactly_and_nan_comes_last(hpcorch, sweep):
    for key in ("clip", "result"):
        for reverse, order in (([], [3, 7, 0, 4, 5, 6, 2, 1]), (["-r"], [2, 6, 5, 4, 0, 7, 3, 1])):
            found = json.loads(hpcorch("compare", "--json", "--sort", key, *reverse).out)
            assert [run["run"] for run in found] == order


def test_conditions_find_them(hpcorch, sweep):
    def found(condition: str) -> list[int]:
        return [run["run"] for run in json.loads(hpcorch("compare", "--json", "--where", condition).out)]

    for key in ("clip", "result"):
        assert found(f"{key}>5") == [2, 4, 5, 6]
        assert found(f"{key}=nan") == [1]
        assert found(f"{key}={10**400}") == [4]
        assert found(f"{key}>{10**400}") == [2, 5, 6]
        assert found(f"{key}<0") == [3, 7]
    assert hpcorch("ls", "-q", "--where", "clip>5").out.split() == [sweep.id]


def test_the_views_have_infinities_as_numbers_no_nan_and_long_integers_as_text(hpcorch, sweep, tmp_path):
    ran = hpcorch("query", "--csv", "SELECT value, result FROM v_params ORDER BY run")
    assert list(csv.reader(io.StringIO(ran.out)))[1:] == [
        [text, text] if text != "nan" else ["", ""] for text in WRITTEN
    ]
    ran = hpcorch("query", "--json", "SELECT run FROM v_runs WHERE result > 5 AND typeof(result) = 'real'")
    assert json.loads(ran.out) == [{"run": 2}]
    found = api.Ledger().query("SELECT result, json_extract(params, '$.clip') AS clip FROM v_runs WHERE run < 4")
    known = [0.25, None, math.inf, -math.inf]
    assert same(found, {"result": known, "clip": known})
    assert hpcorch("export", "csv", "--into", str(tmp_path / "out")).code == 0
    assert hpcorch("export", "json", "--into", str(tmp_path / "out")).code == 0
    assert DIGITS in (tmp_path / "out" / "runs.csv").read_text()
    assert json.loads((tmp_path / "out" / "params.json").read_text())[2]["value"] == "inf"


def test_a_table_for_frames_has_floats_as_floats_and_long_integers_as_text(sweep):
    found = api.Ledger().table("last/0-3")
    assert same(found["clip"], VALUES[:4])
    assert same(found["result"], VALUES[:4])
    assert api.Ledger().table("last/4-6")["result"] == WRITTEN[4:7]


def test_a_bundle_and_an_audit_have_them(hpcorch, sweep, tmp_path):
    assert hpcorch("export", "bundle", "last", str(tmp_path / "bundle")).code in (0, 1)
    told = json.loads((tmp_path / "bundle" / "audit.json").read_text())
    assert told["sweeps"][0]["runs"][1]["result"] == "nan"
    assert DIGITS in hpcorch("audit", "last", "--json").out
