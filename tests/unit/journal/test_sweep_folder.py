"""An earlier sweep's record is set aside for a new sweep in the same directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcorch.journal.files import nothing_to_confirm
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lock import LockLostError
from hpcorch.journal.sweep_folder import set_aside, take
from hpcorch.model.ids import AttemptId


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


def test_all_that_a_sweep_has_is_set_aside(tmp_path: Path) -> None:
    """What a packed task had begun in the earlier sweep is nothing that one of the new sweep goes on with."""
    layout = SweepLayout(tmp_path)
    take(layout)
    attempt = AttemptId(run=0, submission=0, restart=0)
    own = (layout.task_list(0, 0), layout.asked(0, 0), layout.steps_lock(attempt), layout.checkpoints(0) / "x")
    for path in own:
        path.parent.mkdir(parents=True)
        path.touch()
    set_aside(layout, nothing_to_confirm)
    assert [path.name for path in layout.state.iterdir() if not path.name.startswith("control.lock")] == [
        "earlier-1"
    ]
