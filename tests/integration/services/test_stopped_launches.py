"""Launches that died after their runs were on record, and before Slurm had them."""

from __future__ import annotations

import json
from pathlib import Path

from hpcorch.model import events as ev
from tests.support.apps import App
from tests.support.command_line import CommandLine
from tests.support.fake_cluster import FakeCluster
from tests.support.sweeps import SWEEP, SweepOnDisk, finished_sweep, make_sweep
from tests.support.tuning import Tune

OTHER = "20260102-120000-bcdf"


def rejected_later(sweep: SweepOnDisk, **fields: bool) -> None:
    """An intent, and that it came to nothing."""
    intended = ev.SubmissionIntended(
        submission=0, launch=0, runs="0-1", token="0" * 32, backend="slurm", host="login1", script=""
    )
    sweep.record(intended, ev.SubmissionRejected(submission=0, reason="no such partition", **fields))
    sweep.ingest()


def test_a_launch_that_was_killed_before_it_submitted_is_told_of_and_submitted_by_tend(
    on_slurm: App, cluster: FakeCluster, hpcorch: CommandLine
) -> None:
    refusing = {"FAKE_SLURM_SBATCH": "reject:invalid partition specified: x"}
    assert on_slurm.launch("x=1,2", env=refusing).returncode == 1
    (control,) = on_slurm.folder.glob("multirun/*/*/.hpcorch/control.jsonl")
    lines = control.read_bytes().splitlines(keepends=True)
    control.write_bytes(b"".join(line for line in lines if b'"kind":"submission-' not in line))
    environment = control.with_name("variables.json")
    recorded = json.loads(environment.read_text())
    environment.write_text(json.dumps({name: value for name, value in recorded.items() if name not in refusing}))
    on_slurm.ledger.unlink()
    hpcorch("ledger", "adopt")
    status = hpcorch("status")
    assert "runs 0-1 are on record and not submitted" in status.err
    assert "`hpcorch tend " in status.err
    assert "runs 0-1" in hpcorch("show").err
    assert on_slurm.states() == ["PLANNED", "PLANNED"]
    hpcorch("status", "--refresh")
    assert not cluster.jobs()
    assert "submitted as array" in hpcorch("tend").out
    assert hpcorch("wait").code == 0
    assert "there is nothing to do" in hpcorch("tend", "last").err
    assert len(cluster.jobs()) == 1


def test_retry_runs_what_was_never_submitted(hpcorch: CommandLine, tmp_path: Path) -> None:
    make_sweep(tmp_path).ingest()
    assert "would run again on this machine: runs 0-1" in hpcorch("retry", "last", "--dry-run").out
    assert "`hpcorch retry " in hpcorch("status").err


def test_retry_says_of_a_refused_launch_what_to_do(
    hpcorch: CommandLine, tmp_path: Path, fake_slurm: Path, tune: Tune
) -> None:
    sweep = make_sweep(tmp_path, backend="slurm")
    rejected_later(sweep)
    told = hpcorch("retry", sweep.id, "--dry-run").err
    assert "launch the sweep again" in told
    assert "no such partition" in told


def test_a_submission_that_was_given_up_because_nothing_was_found_is_not_a_refusal(
    hpcorch: CommandLine, tmp_path: Path, fake_slurm: Path
) -> None:
    rejected_later(make_sweep(tmp_path, backend="slurm"), absent=True)
    assert "runs 0-1 are on record and not submitted" in hpcorch("status").err
    assert "would run again as one array: runs 0-1" in hpcorch("retry", "last", "--dry-run").out


def test_refused_launches_are_neither_listed_nor_last_unless_they_are_asked_for(
    hpcorch: CommandLine, tmp_path: Path
) -> None:
    finished_sweep(tmp_path)
    rejected_later(make_sweep(tmp_path, backend="slurm", sweep=OTHER))
    assert OTHER not in hpcorch("ls").out
    assert OTHER in hpcorch("ls", "--all").out
    assert f"sweep {SWEEP}" in hpcorch("status").out
    assert f"sweep {OTHER}" in hpcorch("status", OTHER).out


def test_where_every_launch_was_refused_the_last_one_is_shown(hpcorch: CommandLine, tmp_path: Path) -> None:
    rejected_later(make_sweep(tmp_path, backend="slurm"))
    assert "no such partition" in hpcorch("status").err
    assert "`hpcorch ls --all`" in hpcorch("ls").err
