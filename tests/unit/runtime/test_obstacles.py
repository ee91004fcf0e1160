"""What stands in the way of forking runs from a process that has started a program."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcorch.runtime.fork_server import obstacles
from hpcorch.runtime.fork_server.obstacles import obstacle
from hpcorch.runtime.run.seeding import seed_libraries


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    before = random.getstate()
    seed_libraries(7)
    yield
    random.setstate(before)


def test_a_gpu_that_is_open_is_one(monkeypatch):
    monkeypatch.setattr(obstacles, "_GPU_DEVICES", ("/dev/zero",))
    assert obstacle(7, None) is None
    with Path("/dev/zero").open("rb"):
        assert obstacle(7, None) == "it has used a GPU (/dev/zero is open)"
    assert obstacle(7, None) is None


def draw(library: str) -> float:
    module = pytest.importorskip(library)
    if library == "numpy":
        return float(module.random.rand())
    return float(module.rand(1) if library == "torch" else module.random())


@pytest.mark.parametrize("library", ["random", "numpy", "torch"])
def test_numbers_that_were_drawn_are_one_and_the_generators_are_as_seeded_afterwards(library):
    pytest.importorskip(library)
    seed_libraries(7)
    assert obstacle(7, None) is None
    first = draw(library)
    assert obstacle(7, None) == "it has drawn random numbers, or seeded their generators"
    assert draw(library) == first
