"""A run that was killed and went on is audited, exported, and repeated to the bit where nothing of it is left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpcorch.ledger import Ledger
from tests.support import processes
from tests.support.apps import App

pytestmark = pytest.mark.programs


SCRIPT = """
import os, pathlib, random
import hydra
import helpers, hpcorch

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    run = hpcorch.current_run()
    checkpoint = run.restore()
    total, done = checkpoint.state if checkpoint else (0.0, 0)
    for step in range(done + 1, 7):
        total += random.random() * cfg.lr * helpers.FACTOR
        if step == 4 and pathlib.Path("die").exists():
            os.kill(os.getpid(), 9)
        run.log(step, total=total)
        run.save(step, (total, step))
    return {"total": total}

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def project(tmp_path) -> Path:
    """A folder with the program, which has not run yet."""
    folder = tmp_path / "project"
    (folder / "conf").mkdir(parents=True)
    (folder / "conf" / "config.yaml").write_text("lr: 0.1\n")
    (folder / "app.py").write_text(SCRIPT)
    (folder / "helpers.py").write_text("FACTOR = 2\n")
    return folder


@pytest.fixture
def app(project) -> App:
    """Run 0 of two was killed, and went on from a checkpoint."""
    (project / "die").touch()
    made = App(folder=project, launcher="hpcorch_local")
    made.launch("lr=0.5,0.25")
    (project / "die").unlink()
    assert hpcorch(project, "retry", "last").returncode == 0
    return made


def hpcorch(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("hpcorch")
    return subprocess.run([program, *words], cwd=folder, text=True, capture_output=True, timeout=120)


def test_a_killed_run_audits_clean_and_is_repeated_to_the_bit_from_its_bundle_alone(app, tmp_path):
    audited = hpcorch(app.folder, "audit", "last", "--json")
    assert audited.returncode == 0, audited.stdout
    first, second = json.loads(audited.stdout)["sweeps"][0]["runs"][0]["attempts"]
    assert first["restored"] is None
    assert (second["restored"]["step"], second["restored"]["generators"]) == (3, ["random"])
    exported = hpcorch(app.folder, "export", "bundle", "last", tmp_path / "bundle")
    assert exported.returncode == 0, exported.stderr
    shutil.rmtree(app.folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    words = ("reproduce", "last/0", elsewhere / "again", "--bundle", tmp_path / "bundle")
    refused = hpcorch(elsewhere, *words)
    assert (refused.returncode, "add --trust-code" in refused.stderr) == (1, True), "it executes what others wrote"
    again = hpcorch(elsewhere, *words, "--trust-code", "--json")
    assert again.returncode == 0, again.stdout + again.stderr
    found = json.loads(again.stdout)
    assert found["sameness"] == "identical"
    assert [entry["what"] for entry in found["compared"]] == [
        "state",
        "result.total",
        "metrics.total",
        "checkpoint of step 6",
    ]
    assert hpcorch(elsewhere, "audit", "--bundle", tmp_path / "bundle").returncode == 0
    assert hpcorch(elsewhere / "again", "audit", "last").returncode == 0


def test_a_repetition_uses_the_code_that_was_frozen_and_leaves_the_original_alone(app, tmp_path, monkeypatch):
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"/nowhere:{path}")
    (app.folder / "helpers.py").write_text("FACTOR = 3\n")
    sweep = app.summary().sweep.id
    again = hpcorch(app.folder, "reproduce", f"{sweep}/1", tmp_path / "again")
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"repeats {sweep}/1: identical" in again.stdout
    assert f" export PATH={path}\n" in again.stderr
    assert hpcorch(app.folder, "audit", "--all").returncode == 0
    assert hpcorch(app.folder, "reproduce", sweep, tmp_path / "third").returncode == 2


def test_a_changed_snapshot_is_not_run_again(app, tmp_path):
    (snapshot,) = (app.folder / ".hpcorch" / "snapshots").iterdir()
    content = bytearray(snapshot.read_bytes())
    content[-1] ^= 1
    snapshot.write_bytes(content)
    again = hpcorch(app.folder, "reproduce", "last/0", tmp_path / "again")
    assert again.returncode == 75
    assert "snapshot" in again.stderr
    assert not (tmp_path / "again").exists()


@pytest.fixture
def slurm_app(project, fake_slurm) -> App:
    """A sweep that ran on a pretended Slurm."""
    made = App(folder=project, launcher="hpcorch_slurm")
    keys = ("hydra.launcher.mem_gb=2", "hydra.launcher.partition=normal", "+hydra.launcher.dependency=singleton")
    done = made.launch("lr=0.5", *keys, "+hydra.launcher.additional_parameters={begin:now+1,mail-type:NONE}")
    assert done.returncode == 0, done.stderr
    return made


def jobs(tmp_path: Path) -> list[dict[str, str]]:
    return [job["flags"] for job in json.loads((tmp_path / "slurm" / "jobs.json").read_text()).values()]


def test_a_run_of_this_cluster_is_repeated_there_with_what_it_asked_for(slurm_app, tmp_path):
    again = hpcorch(slurm_app.folder, "reproduce", "last/0", tmp_path / "again", "--set", "partition=cheap")
    assert again.returncode == 0, again.stdout + again.stderr
    assert ": identical" in again.stdout
    flags = jobs(tmp_path)[-1]
    assert (flags["partition"], flags["mem"], flags["mail-type"]) == ("cheap", "2GB", "NONE")
    assert "begin" not in flags
    assert hpcorch(slurm_app.folder, "audit", "--all").returncode == 0


def test_a_repetition_that_the_site_profile_forbids_is_refused_with_the_numbers(slurm_app, tmp_path):
    words = (slurm_app.folder, "reproduce", f"{slurm_app.summary().sweep.id}/0", tmp_path / "again")
    profile = slurm_app.folder / ".hpcorch" / "site.yaml"
    profile.write_text("envelope: {max_gpu_hours: 2, max_walltime_min: 90}\npolicies: {partitions: [normal]}\n")
    for changes, told in (
        (
            ("timeout_min=80", "gpus_per_node=2"),
            "2.66667 GPU-hours in the worst case, and envelope.max_gpu_hours is 2",
        ),
        (("timeout_min=120",), "120 minutes a run, and envelope.max_walltime_min is 90"),
        (("timeout_min=10", "partition=cheap"), "partition cheap is not one of policies.partitions (normal)"),
    ):
        refused = hpcorch(*words, *(word for change in changes for word in ("--set", change)))
        assert (refused.returncode, told in refused.stderr) == (2, True), refused.stderr
        assert not (tmp_path / "again").exists()
    assert len(jobs(tmp_path)) == 1
    local = hpcorch(*words, "--backend", "local")
    assert local.returncode == 0, "limits of the cluster do not bound this machine: " + local.stderr


def test_a_repetition_that_was_begun_and_not_submitted_is_refused_likewise(slurm_app, tmp_path):
    words = (slurm_app.folder, "reproduce", f"{slurm_app.summary().sweep.id}/0", tmp_path / "again")
    assert hpcorch(*words, "--set", "partition=nosuch").returncode == 2
    profile = slurm_app.folder / ".hpcorch" / "site.yaml"
    profile.write_text("envelope: {max_walltime_min: 30}\n")
    assert "60 minutes a run, and envelope.max_walltime_min is 30" in hpcorch(*words).stderr
    assert len(jobs(tmp_path)) == 1
    profile.write_text("envelope: {max_walltime_min: 60}\n")
    assert hpcorch(*words).returncode == 0
    profile.write_text("envelope: {max_walltime_min: 30}\n")
    assert hpcorch(*words).returncode == 0, "what is over is compared whatever the profile says"


def test_a_run_of_a_cluster_is_repeated_here_where_there_is_none(slurm_app, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    again = hpcorch(slurm_app.folder, "reproduce", "last/0", tmp_path / "again")
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(jobs(tmp_path)) == 1


def test_the_same_command_goes_on_with_a_repetition_that_its_maker_left(slurm_app, tmp_path, monkeypatch):
    sweep = slurm_app.summary().sweep.id
    words = ("reproduce", f"{sweep}/0", tmp_path / "again")
    refused = hpcorch(slurm_app.folder, *words, "--set", "partition=nosuch")
    assert (refused.returncode, "partition" in refused.stderr) == (2, True), refused.stderr
    monkeypatch.setenv("FAKE_SLURM_SBATCH", "killed")  # the job is there, and nobody was told
    done = hpcorch(slurm_app.folder, *words)
    assert done.returncode == 0, done.stderr
    monkeypatch.delenv("FAKE_SLURM_SBATCH")
    done = hpcorch(slurm_app.folder, *words, "--json")
    assert (done.returncode, json.loads(done.stdout)["sameness"]) == (0, "identical"), done.stderr
    assert "not run twice" in done.stderr
    assert len(jobs(tmp_path)) == 2
    assert hpcorch(slurm_app.folder, *words, "--backend", "local").returncode == 2
    assert hpcorch(slurm_app.folder, *words, "--set", "partition=normal").returncode == 2
    assert hpcorch(slurm_app.folder, "reproduce", "last/0", tmp_path / "again").returncode == 1


def test_two_commands_at_once_execute_a_repetition_once(app, tmp_path):
    program = Path(sys.executable).with_name("hpcorch")
    words = [program, "reproduce", f"{app.summary().sweep.id}/0", tmp_path / "again"]
    both = [processes.start(words, cwd=app.folder, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 0], [0, 1]), said
    with Ledger.open(app.ledger) as ledger:
        made = [one for one in ledger.sweeps() if "reproduction" in one.sweep.tags]
        assert len(made) == 1
        assert len(ledger.attempts(made[0].sweep.id)) == 1


def test_what_was_never_executed_or_cannot_be_written_is_said_in_a_sentence(app, tmp_path):
    sweep = app.summary().sweep.id
    (app.folder / "file").write_text("")
    for words in (("last/0", "file/again"), ("last/0", "/proc/again"), ("last/9", "again")):
        done = hpcorch(app.folder, "reproduce", *words)
        assert done.returncode in (1, 2, 3), words
        assert "Traceback" not in done.stderr
    done = hpcorch(app.folder, "reproduce", f"{sweep}/0", Path(app.layout().directory))
    assert (done.returncode, f"belongs to sweep {sweep}" in done.stderr) == (1, True), done.stderr


def test_a_command_of_its_own_is_audited_and_not_repeated(project, tmp_path):
    assert hpcorch(project, "exec", "--", "true").returncode == 0
    audited = hpcorch(project, "audit", "last")
    assert audited.returncode == 0, audited.stdout
    again = hpcorch(project, "reproduce", "last/0", tmp_path / "again")
    assert (again.returncode, "a script or a command of its own" in again.stderr) == (2, True), again.stderr
