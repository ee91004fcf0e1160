"""Hydra's own launcher suites, which ship in its wheel, for whichever launcher HPCORCH_SUITE_LAUNCHER names.

Imported by the local test and run as the cluster's user by the test on the real Slurm, so that both launchers
face the same cases. Fixtures come from Hydra's pytest plugin.
"""

from __future__ import annotations

import os

import pytest
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite

LAUNCHER = os.environ.get("HPCORCH_SUITE_LAUNCHER", "hpcorch_local")
# Hydra's suites make several sweeps in one directory, which hpcorch does only when asked to.
FLAGS = ["hydra.launcher.reuse_sweep_dir=true"]


@pytest.fixture(autouse=True)
def _own_ledger(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HPCORCH_LEDGER", str(tmp_path / "ledger" / "ledger.db"))


@pytest.mark.parametrize(("launcher_name", "overrides"), [(LAUNCHER, FLAGS)])
class TestLauncher(LauncherTestSuite):
    """What Hydra asks of every launcher."""


@pytest.mark.parametrize(("task_launcher_cfg", "extra_flags"), [({}, ["-m", f"hydra/launcher={LAUNCHER}", *FLAGS])])
class TestIntegration(IntegrationTestSuite):
    """Whole programs under the launcher."""
