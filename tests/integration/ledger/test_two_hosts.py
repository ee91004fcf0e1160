"""Two hosts on one file system that caches, and whose locks do not reach from one to the other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_MISSING = [name for name in ("sshfs", "fusermount3", "unshare") if shutil.which(name) is None]


@pytest.mark.programs
@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, for name spaces and mounts")
@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="there is no /dev/fuse")
@pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {_MISSING}")
def test_two_hosts_lose_nothing_when_one_loses_power(repository: Path) -> None:
    trial = repository / "scripts" / "bench" / "hosts.py"
    arguments = ["--mount", "sshfs", "--cuts", "1", "--cut", "power", "--minutes", "0", "--within", "500"]
    ran = subprocess.run(
        [sys.executable, trial, *arguments], capture_output=True, text=True, timeout=540, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "lost power" in ran.stdout
