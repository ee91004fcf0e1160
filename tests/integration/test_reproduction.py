"""A run that was killed and went on is audited, exported, and repeated to the bit where nothing of it is left."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.apps import App

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
def app(tmp_path) -> App:
    """Run 0 of two was killed, and went on from a checkpoint."""
    folder = tmp_path / "project"
    (folder / "conf").mkdir(parents=True)
    (folder / "conf" / "config.yaml").write_text("lr: 0.1\n")
    (folder / "app.py").write_text(SCRIPT)
    (folder / "helpers.py").write_text("FACTOR = 2\n")
    (folder / "die").touch()
    made = App(folder=folder, launcher="hpcorch_local")
    made.launch("lr=0.5,0.25")
    (folder / "die").unlink()
    assert hpcorch(folder, "retry", "last").returncode == 0
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
    again = hpcorch(
        elsewhere, "reproduce", "last/0", elsewhere / "again", "--bundle", tmp_path / "bundle", "--json"
    )
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


def test_a_repetition_uses_the_code_that_was_frozen_and_leaves_the_original_alone(app, tmp_path):
    (app.folder / "helpers.py").write_text("FACTOR = 3\n")
    sweep = app.summary().sweep.id
    again = hpcorch(app.folder, "reproduce", f"{sweep}/1", tmp_path / "again")
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"repeats {sweep}/1: identical" in again.stdout
    assert hpcorch(app.folder, "audit", "--all").returncode == 0
    assert hpcorch(app.folder, "reproduce", f"{sweep}/1", tmp_path / "again").returncode == 1  # not written over
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
