"""``hpcorch collect``, ``compare``, and ``ls --where``: results side by side."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys

import pytest
from hydra.core.utils import JobStatus

import hpcorch as api
from hpcorch.errors import NotFoundError, UsageError
from hpcorch.launcher.results import RunHandle
from hpcorch.model.states import RunState
from tests.support.apps import make_app
from tests.support.sweeps import SWEEP, SweepOnDisk, finished_sweep, make_sweep

OTHER = "20260102-090000-wxyz"


@pytest.fixture
def other(tmp_path) -> SweepOnDisk:
    """A later sweep over other keys, whose results are mappings; its last run goes on."""
    sweep = make_sweep(tmp_path, [["lr=0.5", "depth=2"], ["lr=0.05", "depth=10"], ["lr=1", "depth=3"]], sweep=OTHER)
    sweep.submit([0, 1, 2])
    sweep.start(0).end({"accuracy": 0.8, "loss": 0.3})
    sweep.start(1).end({"accuracy": 0.9, "loss": 0.2})
    sweep.start(2)
    sweep.ingest()
    return sweep


def columns(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_collect_prints_parameters_state_and_result_of_each_run(hpcorch, tmp_path):
    finished_sweep(tmp_path)
    ran = hpcorch("collect")
    assert ran.code == 1
    assert columns(ran.out) == [
        ["RUN", "STATE", "LR", "EPOCHS", "RESULT"],
        ["0", "COMPLETED", "0.1", "3", "0.5"],
        ["1", "FAILED", "0.2", "3"],
    ]
    assert hpcorch("collect", "-s", "CD").code == 0
    rows = list(csv.DictReader(io.StringIO(hpcorch("collect", "--csv").out)))
    assert rows[0] == {
        "sweep": SWEEP,
        "run": "0",
        "state": "COMPLETED",
        "lr": "0.1",
        "epochs": "3",
        "result": "0.5",
    }
    assert json.loads(hpcorch("collect", "--json").out)[0]["result"] == 0.5
    assert hpcorch("collect", "--json", "--csv").code == 2


def test_collect_says_which_runs_have_no_result_yet(hpcorch, other):
    ran = hpcorch("collect")
    assert ran.code == 1
    assert "1 of 3 runs is not over" in ran.err


def test_compare_puts_sweeps_side_by_side(hpcorch, tmp_path, other):
    finished_sweep(tmp_path)
    ran = hpcorch("compare", OTHER, f"{SWEEP}/0", "--sort", "lr", "--csv")
    assert ran.code == 0
    rows = list(csv.reader(io.StringIO(ran.out)))
    assert rows[0] == ["sweep", "run", "state", "lr", "depth", "epochs", "result.accuracy", "result.loss", "result"]
    assert [row[3] for row in rows[1:]] == ["0.05", "0.1", "0.5", "1"]
    assert rows[1] == [OTHER, "1", "COMPLETED", "0.05", "10", "", "0.9", "0.2", ""]


def test_compare_sorts_numbers_as_numbers_and_puts_what_has_no_value_last(hpcorch, other):
    def order(*words: str) -> list[int]:
        return [run["run"] for run in json.loads(hpcorch("compare", "--json", *words).out)]

    assert order() == [0, 1, 2]
    assert order("--sort", "depth") == [0, 2, 1]
    assert order("--sort", "result.loss") == [1, 0, 2]
    assert order("--sort", "result.loss", "-r") == [0, 1, 2]
    assert order("--where", "depth>=3", "--sort", "lr") == [1, 2]
    wrong = hpcorch("compare", "--sort", "nothing")
    assert (wrong.code, "result.loss" in wrong.err) == (2, True)


def test_ls_lists_sweeps_with_a_run_like_that(hpcorch, tmp_path, other):
    finished_sweep(tmp_path)

    def found(*conditions: str) -> list[str]:
        return hpcorch("ls", "-q", *(word for text in conditions for word in ("--where", text))).out.split()

    assert found("lr>0.3") == [OTHER]
    assert sorted(found("lr<=0.1")) == [SWEEP, OTHER]
    assert found("result.accuracy>=0.9") == [OTHER]
    assert found("result>=0.5") == [SWEEP]
    assert found("lr=0.5", "result.accuracy>=0.9") == []  # of one and the same run
    assert hpcorch("ls", "-n", "1", "--where", "lr>0").err.startswith("hpcorch: these are the latest 1")
    assert hpcorch("ls", "--where", "lr").code == 2


@pytest.mark.parametrize("command", [["compare", "last"], ["ls"]])
def test_a_condition_on_what_no_run_has_is_a_usage_error_that_names_the_keys(hpcorch, other, command):
    refused = hpcorch(*command, "--where", "foo=1")
    assert (refused.code, refused.out) == (2, "")
    assert "no run has 'foo'" in refused.err
    assert "keys are lr, depth, run, seed, state, result.accuracy, result.loss" in refused.err
    with pytest.raises(UsageError, match="no run has 'foo'"):
        api.Ledger().runs(where="foo=1")


def test_collect_in_python_gives_what_the_launcher_returned(tmp_path):
    app = make_app(tmp_path / "project", "hpcorch_local")
    assert app.launch("x=1,2,3", "fail=2", "hydra.sweeper.max_batch_size=3").returncode == 1
    script = (
        "import hpcorch, hydra.core.utils as u\n"
        "((first, second, third),) = hpcorch.collect('last')\n"
        "assert first.return_value == 1 and first.status is u.JobStatus.COMPLETED, first\n"
        "assert first.cfg == {'x': 1, 'fail': 2, 'die': None, 'leave': None, 'value': None,"
        " 'read': 'NO_SUCH_VARIABLE', 'wait_for': None}, first.cfg\n"
        "assert first.hydra_cfg.hydra.job.num == 0 and first.overrides == ['x=1', 'fail=2']\n"
        "assert second.status is u.JobStatus.FAILED\n"
        "try:\n"
        "    second.return_value\n"
        "except Exception as error:\n"
        "    assert isinstance(error.__cause__, ValueError), error\n"
        "print(first.hydra_cfg.hydra.runtime.output_dir)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=app.folder, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(os.sep + "0")


def test_collect_in_python_is_honest_about_runs_that_are_not_over(other, tmp_path):
    ((done, _, running),) = api.collect(OTHER, other.ledger_path)
    assert done.return_value == {"accuracy": 0.8, "loss": 0.3}
    assert running.status is JobStatus.UNKNOWN
    handle = running.return_value
    assert isinstance(handle, RunHandle)
    assert (handle.sweep, handle.run, handle.state) == (OTHER, 2, RunState.RUNNING)


def test_collect_in_python_needs_a_ledger(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match="ledger=path"):
        api.collect()
