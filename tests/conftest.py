"""What every test gets: an environment in which no job, cluster or ledger of the person at the keyboard shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Slurm's commands and hpcorch take defaults from variables that begin so.
_FOREIGN = ("SLURM", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "HYDRA_", "HPCORCH_LEDGER")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove variables that would make a test depend on where it runs."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the project's sources."""
    return Path(__file__).resolve().parent.parent
