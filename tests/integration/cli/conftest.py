"""What happens in the pauses of a command that follows runs, and what commands tell Slurm."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest

from hpcorch.services.reports import follow_logs
from hpcorch.services.tending import wait
from hpcorch.slurm.client import CliClient

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


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What Slurm is told, call by call."""
    told: list[tuple[str, list[str]]] = []
    for verb in ("cancel", "signal", "hold", "release"):
        real = getattr(CliClient, verb)

        def spy(self: CliClient, ids: Sequence[str], *rest: str, verb: str = verb, real: Any = real) -> None:
            if ids:
                told.append((verb, list(ids)))
            real(self, ids, *rest)

        monkeypatch.setattr(CliClient, verb, spy)
    return told
