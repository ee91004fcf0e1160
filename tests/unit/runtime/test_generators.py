"""Random generators draw after restoring what they would have drawn."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from hpcorch.errors import CheckpointError
from hpcorch.runtime.run.generators import capture, restore


@pytest.fixture(autouse=True)
def shared_generators_unchanged() -> Iterator[None]:
    states = capture({})
    yield
    restore(states, {})


def test_shared_generators_go_on_as_they_would_have() -> None:
    states = pickle.loads(pickle.dumps(capture({})))

    def draws() -> list[float]:
        # The second of a pair of normal numbers waits in the generator.
        return [random.random(), random.gauss(0, 1), np.random.normal(), np.random.rand()]

    expected = draws()
    assert {"random", "numpy"} <= set(restore(states, {}))
    assert draws() == expected


def test_number_that_waits_in_a_generator_is_restored() -> None:
    random.gauss(0, 1)
    np.random.normal()
    states = capture({})
    expected = random.gauss(0, 1), np.random.normal()
    restore(states, {})
    assert (random.gauss(0, 1), np.random.normal()) == expected


@pytest.mark.parametrize(
    ("make", "draw"),
    [
        (np.random.default_rng, lambda generator: generator.normal()),
        (lambda seed: np.random.Generator(np.random.MT19937(seed)), lambda generator: generator.integers(1000)),
        (np.random.RandomState, lambda generator: generator.normal()),
        (random.Random, lambda generator: generator.gauss(0, 1)),
    ],
    ids=["numpy", "numpy-mt19937", "numpy-legacy", "random"],
)
def test_registered_generator_of_a_new_process_goes_on(
    make: Callable[[int], Any], draw: Callable[[Any], float]
) -> None:
    first = make(1)
    draw(first)
    states = pickle.loads(pickle.dumps(capture({"shuffle": first})))
    expected = [draw(first) for _ in range(3)]
    second = make(2)
    assert "shuffle" in restore(states, {"shuffle": second})
    assert [draw(second) for _ in range(3)] == expected


def test_names_must_be_the_same_in_each_attempt() -> None:
    states = capture({"shuffle": random.Random(1)})
    with pytest.raises(CheckpointError, match="'shuffle' was registered at the save and is missing now"):
        restore(states, {})
    with pytest.raises(CheckpointError, match="'augment' was registered now and is missing in the checkpoint"):
        restore(states, {"shuffle": random.Random(1), "augment": random.Random(1)})


def test_generator_of_another_kind_is_refused_and_nothing_is_set() -> None:
    states = capture({"shuffle": np.random.default_rng(1)})
    random.seed(5)
    before = random.getstate()
    for other in (random.Random(1), np.random.Generator(np.random.MT19937(1))):
        with pytest.raises(CheckpointError, match=r"was a numpy.random.Generator of PCG64 at the save"):
            restore(states, {"shuffle": other})
    assert random.getstate() == before


@pytest.mark.parametrize("thing", [object(), random.SystemRandom(), 5])
def test_what_has_no_state_cannot_be_registered(thing: Any) -> None:
    with pytest.raises(CheckpointError, match=r"'shuffle' is a .*, whose state cannot be saved"):
        capture({"shuffle": thing})
