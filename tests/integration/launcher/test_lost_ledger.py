"""A launcher whose ledger is taken away while its runs run."""

from __future__ import annotations

import pytest

from tests.support.apps import App
from tests.support.waiting import wait_until

pytestmark = pytest.mark.programs


@pytest.mark.parametrize("launcher", ["hpcorch_local", "hpcorch_slurm"])
def test_it_ends_with_its_runs_and_makes_a_ledger_with_its_sweep(on_slurm, hpcorch, launcher):
    app = on_slurm if launcher == "hpcorch_slurm" else App(folder=on_slurm.folder, launcher=launcher)
    launched = app.start("x=1,2", f"wait_for={app.folder / 'go'}", "fail=2")
    wait_until(lambda: len(list(app.folder.rglob("started-*"))) == 2 or launched.poll() is not None)
    app.ledger.parent.rename(app.folder / "away")  # at once, unlike a removal
    wait_until(lambda: str(app.ledger) in app.output)  # who has it open goes on with it, where it is now
    (app.folder / "go").touch()
    assert launched.wait() == 1
    assert "no good: 2" in app.output
    assert hpcorch("status").code == 1  # it takes over what could not be stored while the folder went away
    assert [run.state.value for run in app.runs()] == ["COMPLETED", "FAILED"]
    assert hpcorch("ledger", "check", "--deep").code == 0
