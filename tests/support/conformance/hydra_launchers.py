"""Hydra's own launcher suites, which ship in its wheel, for whichever launcher HPCORCH_SUITE_LAUNCHER names.

And a program as people have it who come from hydra-submitit-launcher.

Imported by the local test and run as the cluster's user by the test on the real Slurm, so that both launchers
face the same cases. Fixtures come from Hydra's pytest plugin.
"""

from __future__ import annotations

import os
import sys

import pytest
from hydra.core.plugins import Plugins
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite

from hpcorch import process
from hpcorch.launcher.errors import RunFailedError

LAUNCHER = os.environ.get("HPCORCH_SUITE_LAUNCHER", "hpcorch_local")
# Hydra's fixtures put its singletons back to what they were; Hydra 1.4 imports plugins only once, so before that.
Plugins.instance()
# Hydra's suites make several sweeps in one directory, which hpcorch does only when asked to.
FLAGS = ["hydra.launcher.reuse_sweep_dir=true"]


@pytest.fixture(autouse=True)
def _own_ledger(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HPCORCH_LEDGER", str(tmp_path / "ledger" / "ledger.db"))


@pytest.mark.parametrize(("launcher_name", "overrides"), [(LAUNCHER, FLAGS)])
class TestLauncher(LauncherTestSuite):
    """What Hydra asks of every launcher."""

    def test_failure_preserves_task_traceback(self, hydra_sweep_runner, launcher_name, overrides, tmpdir) -> None:
        """Hydra 1.4 wants the task's exception itself; ours names the run and its log, and has it as its cause."""

        def task(_) -> None:
            raise RuntimeError("launcher failure")

        sweep = hydra_sweep_runner(
            calling_file=None,
            calling_module="hydra.test_utils.a_module",
            task_function=task,
            config_path="configs",
            config_name="compose.yaml",
            overrides=[f"hydra/launcher={launcher_name}", *overrides],
            temp_dir=tmpdir,
        )
        with pytest.raises(RunFailedError, match="run 0 failed: RuntimeError: launcher failure") as raised, sweep:
            pass
        assert "in task" in str(raised.value)
        assert repr(raised.value.__cause__) == "RuntimeError('launcher failure')"


@pytest.mark.parametrize(("task_launcher_cfg", "extra_flags"), [({}, ["-m", f"hydra/launcher={LAUNCHER}", *FLAGS])])
class TestIntegration(IntegrationTestSuite):
    """Whole programs under the launcher."""


_PROGRAM = """\
import logging
import hydra
import submitit

@hydra.main(config_path=".", config_name="config")
def main(cfg):
    logging.getLogger(__name__).info("task %s in job %s", cfg.task, submitit.JobEnvironment())

if __name__ == "__main__":
    main()
"""


def test_a_program_made_for_the_launcher_of_submitit_runs_as_it_is(tmp_path) -> None:
    """The configuration names the launcher, and the program asks submitit for its job and Hydra for its log."""
    (tmp_path / "train.py").write_text(_PROGRAM)
    (tmp_path / "config.yaml").write_text(f"defaults: [{{override hydra/launcher: {LAUNCHER}}}]\ntask: 1\n")
    command = [sys.executable, "train.py", "--multirun", "hydra.sweep.dir=sweep", "task=2"]
    done = process.run(command, cwd=tmp_path, timeout_s=120)
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "sweep" / "0" / "train.log").read_text()
    assert "[__main__][INFO] - task 2 in job JobEnvironment(job_id=" in log
    assert "_0, hostname=" in log, "the element of the array"
