"""What happens while a command follows runs: in its pauses, so that it has looked before and looks afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import TypeAlias

import pytest

from hpcorch.services.reports import follow_logs
from hpcorch.services.tending import wait

Meanwhile: TypeAlias = Callable[..., None]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """``meanwhile(one, two)``: deeds of others, one in each pause between two looks."""

    def call(*deeds: Callable[[], object]) -> None:
        left = list(deeds)

        def pause(seconds: float) -> None:
            if left:
                left.pop(0)()
            else:
                time.sleep(seconds)

        clock = SimpleNamespace(monotonic=time.monotonic, sleep=pause)
        for module in (wait, follow_logs):
            monkeypatch.setattr(module, "time", clock)

    return call
