"""States of random generators, so that a restored task draws the numbers that it would have drawn.

The generators that everybody shares (``random``, NumPy's legacy one, PyTorch's on the CPU and on each CUDA device)
travel by themselves where they are imported; a task registers those that it made.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from hpcorch.errors import CheckpointError
from hpcorch.quick_dataclasses import dataclass

_REGISTERED = "registered"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """How the state of one kind of generator is read and set."""

    name: str
    get: Callable[[Any], Any]
    set: Callable[[Any, Any], Any]


def capture(registered: Mapping[str, Any]) -> dict[str, Any]:
    """The states of all generators, at this moment.

    :param registered: generators of the task's own by name: of ``numpy.random``, ``random`` or ``torch``
    :return: what :func:`restore` takes; can be pickled
    :raises CheckpointError: a registered object is not such a generator
    """
    states: dict[str, Any] = {"random": random.getstate()}
    if (numpy := _imported("numpy", "random")) is not None:
        states["numpy"] = numpy.random.get_state(legacy=False)
    if (torch := _imported("torch", "get_rng_state")) is not None:
        states["torch"] = torch.get_rng_state()
        # Where CUDA has not begun, its generators are as the seed will set them.
        if torch.cuda.is_initialized():
            states["torch.cuda"] = torch.cuda.get_rng_state_all()
    states[_REGISTERED] = {name: _state(name, generator) for name, generator in registered.items()}
    return states


def restore(states: Mapping[str, Any], registered: Mapping[str, Any]) -> list[str]:
    """Set all generators to the states of a checkpoint, importing NumPy and PyTorch if they have one.

    CUDA devices that are not here are left out.

    :return: the names of what was set: ``random``, ``numpy``, ``torch``, ``torch.cuda``, and registered names
    :raises CheckpointError: the names registered now and at the save differ, or a generator is of another kind;
        nothing was set then
    """
    saved: Mapping[str, tuple[str, Any]] = states[_REGISTERED]
    _check_registered(saved, registered)
    random.setstate(states["random"])
    names = ["random"]
    if "numpy" in states:
        numpy: Any = import_module("numpy")
        numpy.random.set_state(states["numpy"])
        names.append("numpy")
    if "torch" in states:
        names += _restore_torch(states)
    for name, (_, state) in saved.items():
        _kind(name, registered[name]).set(registered[name], state)
    return [*names, *saved]


def _restore_torch(states: Mapping[str, Any]) -> list[str]:
    torch: Any = import_module("torch")

    torch.set_rng_state(states["torch"])
    devices = list(states.get("torch.cuda", ()))[: torch.cuda.device_count()]
    for index, state in enumerate(devices):
        torch.cuda.set_rng_state(state, index)
    return ["torch", "torch.cuda"] if devices else ["torch"]


def _check_registered(saved: Mapping[str, tuple[str, Any]], registered: Mapping[str, Any]) -> None:
    for name in sorted(saved.keys() ^ registered.keys()):
        when, absent = ("now", "in the checkpoint") if name in registered else ("at the save", "now")
        raise CheckpointError(
            f"the random generator {name!r} was registered {when} and is missing {absent}, so the run would"
            " draw other random numbers than an uninterrupted one: register the same generators in each attempt,"
            " before restoring"
        )
    for name, (kind, _) in saved.items():
        if (now := _kind(name, registered[name]).name) != kind:
            raise CheckpointError(
                f"the random generator {name!r} is a {now} now and was a {kind} at the save: register the same kind"
                " in each attempt"
            )


def _state(name: str, generator: Any) -> tuple[str, Any]:
    kind = _kind(name, generator)
    return kind.name, kind.get(generator)


def _kind(name: str, generator: Any) -> _Kind:
    if isinstance(generator, random.Random) and not isinstance(generator, random.SystemRandom):
        return _Kind(name="random.Random", get=random.Random.getstate, set=random.Random.setstate)
    numpy = _imported("numpy", "random")
    if numpy is not None and isinstance(generator, numpy.random.Generator):
        kind = f"numpy.random.Generator of {type(generator.bit_generator).__name__}"
        return _Kind(name=kind, get=lambda found: found.bit_generator.state, set=_set_bit_generator)
    if numpy is not None and isinstance(generator, numpy.random.RandomState):
        kind = f"numpy.random.RandomState of {generator.get_state(legacy=False)['bit_generator']}"
        return _Kind(
            name=kind,
            get=lambda found: found.get_state(legacy=False),
            set=lambda found, state: found.set_state(state),
        )
    torch = _imported("torch", "Generator")
    if torch is not None and isinstance(generator, torch.Generator):
        return _Kind(
            name=f"torch.Generator on {generator.device.type}",
            get=lambda found: found.get_state(),
            set=lambda found, state: found.set_state(state),
        )
    raise CheckpointError(
        f"{name!r} is a {type(generator).__qualname__}, whose state cannot be saved: register a"
        " numpy.random.Generator or RandomState, a random.Random or a torch.Generator"
    )


def _set_bit_generator(generator: Any, state: Any) -> None:
    generator.bit_generator.state = state


def _imported(module: str, attribute: str) -> Any:
    """A module that is imported already, and far enough to be used."""
    found = sys.modules.get(module)
    return found if found is not None and hasattr(found, attribute) else None
