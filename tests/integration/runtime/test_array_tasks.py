"""A cluster that takes small arrays only (max_array_tasks), pretended: sweeps are cut into arrays that it takes."""

from __future__ import annotations

import json

import pytest

from tests.support.apps import App

pytestmark = [pytest.mark.programs, pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]

# Fails at its first try if it is told to.
APP = """
import os, pathlib, time
import hydra
from hpcorch import tunables

tunables.RETRY_FIRST_WAIT_S = tunables.RETRY_GROUPING_S = 0.2  # what the launcher itself waits for

def note(word):
    with open("notes", "a") as file:
        file.write(f"{time.time()} {word}\\n")

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    tries = pathlib.Path(f"tries-{cfg.x}")
    with tries.open("a") as file:
        file.write("try\\n")
    note("begin")
    while cfg.get("beside") and pathlib.Path("notes").read_text().count("begin") < 2:
        time.sleep(0.02)  # the first one, for another at work
    time.sleep(cfg.get("sleep", 0))
    note("end")
    if cfg.get("fails") and len(tries.read_text().splitlines()) == 1:
        raise OSError("the disk is full")

main()
"""


@pytest.fixture
def app(on_slurm, monkeypatch) -> App:
    monkeypatch.setenv("FAKE_SLURM_ARRAY_TASKS", "5")
    (on_slurm.folder / "app.py").write_text(APP)
    return on_slurm


def sizes(app: App) -> list[int]:
    """How many tasks each array had, in the order of submission."""
    jobs = json.loads((app.folder.parent / "slurm" / "jobs.json").read_text())
    return [len(job["tasks"]) for job in jobs.values() if "array" in job["flags"]]


def tries(app: App) -> list[int]:
    return [len((app.folder / f"tries-{x}").read_text().splitlines()) for x in range(12)]


def most_at_work(app: App) -> int:
    """How many runs were at work at the same time, by their own notes."""
    at_work = most = 0
    for _, word in sorted(line.split() for line in (app.folder / "notes").read_text().splitlines()):
        at_work += 1 if word == "begin" else -1
        most = max(most, at_work)
    return most


def test_a_sweep_is_several_arrays_of_as_many_tasks_as_the_cluster_takes(app):
    done = app.launch("+x=range(12)")
    assert done.returncode == 0, done.stderr
    assert sizes(app) == [5, 5, 2]
    assert (tries(app), app.states()) == ([1] * 12, ["COMPLETED"] * 12)


def test_a_dry_run_shows_the_arrays(app):
    done = app.launch("+x=range(12)", "hydra.launcher.dry_run=true")
    for line in ("# 5 runs as one array: 0-4", "# 5 runs as one array: 5-9", "# 2 runs as one array: 10-11"):
        assert line in done.stdout.splitlines(), done.stdout + done.stderr


def test_what_fails_in_several_arrays_is_run_again_in_several(app):
    done = app.launch("+x=range(12)", "+fails=true", "hydra.launcher.max_retries=1", "hydra.launcher.keeper=false")
    assert done.returncode == 0, done.stderr
    assert max(sizes(app)) <= 5
    assert (tries(app), app.states()) == ([2] * 12, ["COMPLETED"] * 12)


def test_a_retry_by_hand_is_cut_likewise(app, hpcorch):
    assert app.launch("+x=range(12)", "+fails=true").returncode == 1
    told = hpcorch("retry", "last")
    assert told.code == 0, told.err
    assert sizes(app) == [5, 5, 2] * 2
    assert hpcorch("wait", "last").code == 0
    assert tries(app) == [2] * 12


TWO_AT_ONCE = "hydra.launcher.array_parallelism=2"


def test_array_parallelism_holds_over_all_arrays_of_a_sweep(app):
    done = app.launch("+x=range(12)", "+sleep=0.3", "+beside=true", TWO_AT_ONCE)
    assert done.returncode == 0, done.stderr
    assert sizes(app) == [5, 5, 2]
    assert (tries(app), app.states()) == ([1] * 12, ["COMPLETED"] * 12)
    assert most_at_work(app) == 2


def test_array_parallelism_holds_for_what_is_run_again_beside_the_others(app):
    words = ["+fails=true", "+sleep=0.2", "+beside=true", "hydra.launcher.max_retries=1"]
    done = app.launch("+x=range(6)", TWO_AT_ONCE, *words, "hydra.launcher.keeper=false")
    assert done.returncode == 0, done.stderr
    assert (sum(len(path.read_text().splitlines()) for path in app.folder.glob("tries-*")), max(sizes(app))) == (
        12,
        5,
    )
    assert most_at_work(app) == 2


def test_a_dry_run_shows_that_array_parallelism_holds_over_all_arrays(app):
    done = app.launch("+x=range(12)", TWO_AT_ONCE, "hydra.launcher.dry_run=true")
    assert "# at once: at most 2 of 12 runs, because of array_parallelism" in done.stdout.splitlines(), done.stderr
    arrays = [line for line in done.stdout.splitlines() if line.startswith("#SBATCH --array=")]
    assert arrays == ["#SBATCH --array=0-4%2", "#SBATCH --array=0-4%1", "#SBATCH --array=0-1%1"]


def test_a_sweep_of_one_array_keeps_array_parallelism_by_the_arrays_own_limit(app, tmp_path):
    done = app.launch("+x=range(3)", TWO_AT_ONCE)
    assert done.returncode == 0, done.stderr
    jobs = json.loads((tmp_path / "slurm" / "jobs.json").read_text()).values()
    assert [job["flags"].get("array") for job in jobs] == ["0-2%2"], "there is no keeper, either"
