"""Files that belong to somebody else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SOMEBODY = 4_000_001  # no user of this machine


class Disown:
    """Makes a folder another user's. Root can; to anybody else it is shown as such."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, SOMEBODY, -1)
            return
        real = Path.stat

        def shown(found: Path, **options: bool) -> os.stat_result:
            status = real(found, **options)
            return os.stat_result([*status[:4], SOMEBODY, *status[5:]]) if found == path else status

        self._monkeypatch.setattr(Path, "stat", shown)
