"""Runs whose Python never started: Slurm wrote a log, of which no journal tells."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.programs

EARLY = {
    "an interpreter that is not there": ("hydra.launcher.python=/nope/python", "/nope/python"),
    "a setup line that ends the script": ("hydra.launcher.setup=['echo no such module; exit 1']", "no such module"),
}


@pytest.mark.parametrize("early", EARLY)
@pytest.mark.parametrize("folder", [None, "logs/%j"])
def test_the_log_of_a_run_that_failed_before_python_started_is_found(on_slurm, hpcorch, early, folder):
    key, written = EARLY[early]
    place = [] if folder is None else [f"hydra.launcher.submitit_folder={folder}"]
    done = on_slurm.launch("x=1", key, *place)
    (attempt,) = on_slurm.attempts()
    assert attempt.pid is None  # nothing of hpcorch's ran in it
    job = attempt.job_id or on_slurm.runs()[0].job_id
    here = (
        on_slurm.layout().log(0, 0) if folder is None else on_slurm.folder / "logs" / f"{job}" / f"{job}_0_log.out"
    )
    assert f"  log: {here}" in done.stderr
    assert written in done.stderr  # its last lines

    assert written in hpcorch("logs", "last/0").out
    assert written in hpcorch("logs", "last").out
    assert written in hpcorch("logs", "last/0", "-f").out
    assert str(here) in hpcorch("show", "last/0").out
    assert "`hpcorch logs" in hpcorch("why", "last/0").out


def test_a_run_that_slurm_wrote_no_log_for_names_none(on_slurm, hpcorch):
    on_slurm.launch("x=1", "hydra.launcher.python=/nope/python")
    on_slurm.layout().log(0, 0).unlink()
    gone = hpcorch("logs", "last/0")
    assert gone.code == 2
    assert "recorded no log file" in gone.err
    assert "log " not in hpcorch("show", "last/0").out


def test_a_retry_that_never_began_has_its_own_log(on_slurm, hpcorch):
    on_slurm.launch("x=1", "fail=1")
    assert hpcorch("retry", "last", "--set", "python=/nope/python").code == 0
    hpcorch("wait", "last")
    assert "about to fail" in hpcorch("logs", "last/0", "--attempt", "s0.r0").out
    late = hpcorch("logs", "last/0").out
    assert "/nope/python" in late
    assert "about to fail" not in late


def test_runs_of_a_packed_array_that_failed_before_python_started_have_the_log_of_a_task(on_slurm, hpcorch):
    done = on_slurm.launch("x=1,2,3,4", "hydra.launcher.python=/nope/python", "hydra.launcher.runs_per_task=2")
    assert on_slurm.states() == ["FAILED"] * 4, done.stderr
    assert "/nope/python" in done.stderr
    for index in range(4):
        assert "/nope/python" in hpcorch("logs", f"last/{index}").out
    assert str(on_slurm.layout().log(0, 0)) in hpcorch("show", "last/3").out
    on_slurm.layout().log(0, 0).unlink()
    assert str(on_slurm.layout().log(0, 1)) in hpcorch("show", "last/3").out
