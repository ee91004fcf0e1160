"""What stands in the way of forking runs from a process that has started a program."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcorch.runtime.fork_server import obstacles
from hpcorch.runtime.fork_server.obstacles import obstacle
from hpcorch.runtime.fork_server.watch import Watch
from hpcorch.runtime.run.seeding import seed_libraries


@pytest.fixture(autouse=True)
def _seeded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(obstacles, "_threads_of_libraries", lambda: 0)  # that of the tests' own process
    before, alarm = random.getstate(), signal.setitimer(signal.ITIMER_REAL, 0)
    seed_libraries(7)
    yield
    random.setstate(before)
    signal.setitimer(signal.ITIMER_REAL, *alarm)  # of the test's time limit


def look() -> str | None:
    watch = Watch(())
    watch.end()
    return obstacle(7, None, watch)


def test_a_gpu_that_is_open_is_one(monkeypatch):
    monkeypatch.setattr(obstacles, "_GPU_DEVICES", ("/dev/zero",))
    assert look() is None
    with Path("/dev/zero").open("rb"):
        assert look() == "it has used a GPU (/dev/zero is open)"
    assert look() is None


def draw(library: str) -> float:
    module = pytest.importorskip(library)
    if library == "numpy":
        return float(module.random.rand())
    return float(module.rand(1) if library == "torch" else module.random())


@pytest.mark.parametrize("library", ["random", "numpy", "torch"])
def test_numbers_that_were_drawn_are_one_and_the_generators_are_as_seeded_afterwards(library):
    pytest.importorskip(library)
    seed_libraries(7)
    assert look() is None
    first = draw(library)
    assert look() == "it has drawn random numbers, or seeded their generators"
    assert draw(library) == first
