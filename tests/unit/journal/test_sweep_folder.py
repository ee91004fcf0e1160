"""An earlier sweep's record is set aside for a new sweep in the same directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcorch.journal.files import nothing_to_confirm
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lock import LockLostError
from hpcorch.journal.sweep_folder import set_aside, take


def test_who_has_lost_the_lock_moves_nothing_more(tmp_path: Path) -> None:
    """By then another launch may have set the record aside, and made its own in the same place."""
    layout = SweepLayout(tmp_path)
    take(layout)
    moved = []

    def lost_after_two() -> None:
        if len(moved) == 2:
            raise LockLostError("another process has it")
        moved.append(None)

    with pytest.raises(LockLostError):
        set_aside(layout, lost_after_two)
    assert layout.control.exists(), "it goes last: the directory still has its owner"
    assert len(list((layout.state / "earlier-1").iterdir())) == 2
    set_aside(layout, nothing_to_confirm)
    assert not layout.control.exists()
