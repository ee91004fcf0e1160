"""A save may be killed anywhere: what is restored afterwards is the old checkpoint or the new one, whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkpoint_killing import CANNOT_TRACE


@pytest.fixture
def fast_folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that is possible: a kill loses nothing that was written, and a disk is slow at fsync."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.programs
@pytest.mark.parametrize("files", ["plain", "files"])
@pytest.mark.parametrize("keep", [1, 2])
def test_kill_at_every_system_call_of_a_save_leaves_the_old_or_the_new_checkpoint(
    keep: int, files: str, fast_folder: Path, repository: Path
) -> None:
    """What is left over is gone after the next save: the program compares the folder's content."""
    finished = subprocess.run(
        [sys.executable, "-m", "tests.support.checkpoint_killing", str(fast_folder), str(keep), files],
        cwd=repository,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # it forks, and should have a single thread
        capture_output=True,
        text=True,
    )
    if finished.returncode == CANNOT_TRACE:
        pytest.skip("this machine does not let a process trace its child")
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout)
    assert found["old"] > 50
    assert found["new"] > 10  # kills while older checkpoints are removed
