"""After a bug is corrected, the runs that it broke run again as a sweep of their own, and both are one table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hpcorch.ledger import Ledger
from tests.support.apps import App
from tests.support.command_line import CommandLine

pytestmark = pytest.mark.programs

BROKEN = """
import hydra, helpers

FACTOR = 2

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    if cfg.lr > 0.3:
        raise ValueError("the bug")
    return {"loss": round(cfg.lr * FACTOR * helpers.FACTOR, 3), "size": cfg.model.size, "name": cfg.name}

if __name__ == "__main__":
    main()
"""
CONFIG = 'lr: 0.1\nmodel: {size: 3}\nname: "${now:%Y}-${model.size}"\nseed: null\n'


@pytest.fixture
def app(tmp_path, monkeypatch) -> App:
    """A project whose program fails for a large learning rate."""
    folder = tmp_path / "project"
    (folder / "conf").mkdir(parents=True)
    (folder / "conf" / "config.yaml").write_text(CONFIG)
    (folder / "app.py").write_text(BROKEN)
    (folder / "helpers.py").write_text("FACTOR = 1\n")
    monkeypatch.chdir(folder)
    return App(folder=folder, launcher="hpcorch_local")


def correct(app: App) -> None:
    """Both in the program's own file and in a module that it imports."""
    text = BROKEN.replace("FACTOR = 2", "FACTOR = 3").replace("cfg.lr > 0.3", "False")
    (app.folder / "app.py").write_text(text)
    (app.folder / "helpers.py").write_text("FACTOR = 10\n")
    (app.folder / "conf" / "config.yaml").write_text(CONFIG.replace("size: 3", "size: 99"))


def test_the_runs_that_failed_run_again_with_the_corrected_code_and_the_frozen_configuration(
    app: App, hpcorch: CommandLine
):
    app.launch("lr=0.1,0.4,0.2,0.5")
    first = app.summary().sweep.id
    before = app.runs()
    correct(app)
    planned = hpcorch("rerun", "last", "-s", "F", "--dry-run", "--json")
    assert json.loads(planned.out)["runs"] == [1, 3]
    assert app.summary().sweep.id == first, "a dry run records nothing"
    ran = hpcorch("rerun", "last", "-s", "F")
    assert ran.code == 0, ran.err
    second = app.summary().sweep.id
    assert f"sweep {second} reruns runs 1,3 of sweep {first}" in ran.out
    assert [(run.run, run.result["loss"], run.result["size"]) for run in app.runs()] == [(1, 12.0, 3), (3, 15.0, 3)]
    assert [run.seed for run in app.runs()] == [before[1].seed, before[3].seed]
    assert [Path(run.directory).name for run in app.runs()] == ["1", "3"]
    with Ledger.open(app.ledger) as ledger:
        assert ledger.runs(first) == before

    told = f"left out: runs 1,3 of sweep {first}, repeated by its rerun {second}"
    both = hpcorch("compare", first, second)
    assert [line.split()[:3] for line in both.out.splitlines()[1:]] == [
        [first, "0", "COMPLETED"],
        [second, "1", "COMPLETED"],
        [first, "2", "COMPLETED"],
        [second, "3", "COMPLETED"],
    ]
    assert told in both.err
    assert (hpcorch("collect", first).code, hpcorch("collect", second, first).code) == (1, 0)
    assert f"rerun of sweep {first}" in hpcorch("status", "last").out
    assert json.loads(hpcorch("show", "last", "--json").out)["rerun"] == {"of": first, "changed": []}
    assert json.loads(hpcorch("show", "last/3", "--json").out)["rerun_of"] == f"{first}/3"
    audited = hpcorch("audit", "--all", "--json")
    assert audited.code == 0, audited.out
    assert [sweep["rerun"] for sweep in json.loads(audited.out)["sweeps"]] == [None, {"of": first, "changed": []}]


def test_overrides_are_changed_and_a_wrong_one_is_refused_before_anything_is_recorded(
    app: App, hpcorch: CommandLine
):
    app.launch("lr=0.4,0.5")
    first = app.summary().sweep.id
    for words, told in (
        (["modle.size=4"], "did you mean model.size?"),
        (["model.size=4"], "name of run 0 was computed at the launch from what --set changes"),
        (["lr=1,2"], "a rerun takes one"),
        (["lr"], "cannot be read"),
        (["hydra.job.name=x"], "only hydra.launcher.KEY"),
        (["timeout_min=4"], "hydra.launcher.timeout_min"),
        (["hydra.launcher.partition=x"], "cannot be changed for a rerun"),
    ):
        refused = hpcorch("rerun", "last", *(part for word in words for part in ("--set", word)))
        assert (refused.code, told in refused.err) == (2, True), refused.err
    assert app.summary().sweep.id == first
    assert not list(Path(app.summary().sweep.directory).parent.glob("*-rerun"))
    words = ("--set", "lr=0.2", "--set", "model.size=4", "--set", "name=small", "--set", "+seeds=[1,2]")
    ran = hpcorch("rerun", "last/1", *words)
    assert ran.code == 0, ran.err
    (run,) = app.runs()
    assert run.result == {"loss": 0.4, "size": 4, "name": "small"}
    assert run.params == {"lr": 0.2, "model.size": 4, "name": "small", "seeds": [1, 2]}
    assert list(run.overrides) == ["lr=0.2", "model.size=4", "name=small", "+seeds=[1,2]"]
    assert "the code is what it was" in ran.err
    assert hpcorch("audit", "last").code == 0


def test_on_slurm_each_launch_of_the_sweep_is_submitted_as_it_was_with_changed_launcher_keys(
    app: App, hpcorch: CommandLine, fake_slurm: Path
):
    app = App(folder=app.folder, launcher="hpcorch_slurm")
    keys = ("hydra.launcher.partition=normal", "hydra.launcher.mem_gb=2")
    app.launch("lr=0.1,0.15,0.2,0.4", *keys, "hydra.sweeper.max_batch_size=2")
    correct(app)
    ran = hpcorch("rerun", "last/0,2-3", "--set", "hydra.launcher.mem_gb=4")
    assert ran.code == 0, ran.err
    assert hpcorch("wait", "last").code == 0
    assert [(run.run, run.launch, run.result["loss"]) for run in app.runs()] == [
        (0, 0, 3.0),
        (2, 2, 6.0),
        (3, 2, 12.0),
    ]
    flags = [job["flags"] for job in json.loads((fake_slurm / "jobs.json").read_text()).values()][-2:]
    assert [(one["partition"], one["mem"]) for one in flags] == [("normal", "4GB")] * 2
    audited = hpcorch("audit", "--all")
    assert audited.code == 0, audited.out
    refused = hpcorch("rerun", "last/0", "--set", "hydra.launcher.partition=nosuch")
    assert (refused.code, "partition" in refused.err) == (2, True), refused.err


def test_what_cannot_be_run_again_is_said_in_a_sentence(app: App, hpcorch: CommandLine):
    app.launch("lr=0.1")
    program = Path(sys.executable).with_name("hpcorch")
    subprocess.run([program, "exec", "--", "true"], check=True, timeout=120)
    refused = hpcorch("rerun", "last")
    assert (refused.code, "a script or a command of its own" in refused.err) == (2, True), refused.err
    sweep = hpcorch("ls", "-q").out.split()[-1]
    nothing = hpcorch("rerun", sweep, "-s", "F")
    assert (nothing.code, "nothing to run again" in nothing.err) == (0, True), nothing.err
    with Ledger.open(app.ledger) as ledger:
        directory = Path(ledger.sweep(sweep).sweep.directory)
    (directory / ".hpcorch" / "launch-000000" / "task.pkl").write_bytes(b"other")
    assert hpcorch("rerun", sweep).code == 75
