"""The reference pages are what the code says."""

from __future__ import annotations

import subprocess
import sys

from tests.docs.pages import REPOSITORY


def test_the_reference_pages_are_not_stale():
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "docs.py", "--check"], text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
