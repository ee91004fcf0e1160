"""Where things lie that tests read."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY / "tests" / "data"
FAKE_SLURM = REPOSITORY / "tests" / "integration" / "fake_slurm"
