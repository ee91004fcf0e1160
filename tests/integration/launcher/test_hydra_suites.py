"""Hydra's own launcher suites on the local backend, and the discovery of both launchers."""

from __future__ import annotations

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher

from tests.support.conformance.hydra_launchers import (
    TestIntegration,
    TestLauncher,
    _own_ledger,
    test_a_program_made_for_the_launcher_of_submitit_runs_as_it_is,
)

pytestmark = pytest.mark.programs

__all__ = [
    "TestIntegration",
    "TestLauncher",
    "_own_ledger",
    "test_a_program_made_for_the_launcher_of_submitit_runs_as_it_is",
]


def test_both_launchers_are_discovered_beside_hydras_own() -> None:
    names = {launcher.__name__ for launcher in Plugins.instance().discover(Launcher)}
    assert {"SlurmLauncher", "LocalLauncher", "BasicLauncher"} <= names
