"""Where things lie that tests read."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "tests" / "data"
FAKE_SLURM = REPOSITORY / "tests" / "support" / "fake_slurm"
FAKE_PYSLURM = REPOSITORY / "tests" / "support" / "fake_pyslurm" / "pyslurm.py"
