"""Seeding the random generators that everybody shares, before a program can draw from them.

A library is seeded as soon as the program has imported it, so that a seed that the program sets itself stays. None
is imported for it: that would cost seconds in programs that do not use it.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_NUMPY_SEED_LIMIT = 2**32


def _seed_numpy(numpy: Any, seed: int) -> None:
    numpy.random.seed(seed % _NUMPY_SEED_LIMIT)


def _seed_torch(torch: Any, seed: int) -> None:
    torch.manual_seed(seed)  # seeds every CUDA device as well


_LIBRARIES: Mapping[str, Callable[[Any, int], None]] = {"numpy": _seed_numpy, "torch": _seed_torch}


def seed_libraries(seed: int) -> list[str]:
    """Seed ``random``, and NumPy and PyTorch (CPU and CUDA) where they are imported already.

    :return: the names of the libraries seeded
    """
    random.seed(seed)
    there = {name: sys.modules[name] for name in _LIBRARIES if name in sys.modules}
    for name, library in there.items():
        _LIBRARIES[name](library, seed)
    return ["random", *there]


class Seeding:
    """Seeds what is imported now, and other libraries when they are imported.

    :ivar seeded: the names of those seeded so far
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.seeded = seed_libraries(seed)
        self._told = len(self.seeded)
        self._finder = _Finder(self)

    @classmethod
    def begin(cls, seed: int) -> Seeding:
        """Seed from now on."""
        seeding = cls(seed)
        sys.meta_path.insert(0, seeding._finder)
        return seeding

    def end(self) -> None:
        """Seed no more, since another one takes over."""
        sys.meta_path.remove(self._finder)

    def news(self) -> list[str]:
        """The libraries that were seeded since the last call, or since the beginning."""
        names = self.seeded[self._told :]
        self._told = len(self.seeded)
        return names

    def imported(self, library: ModuleType) -> None:
        """Seed a library that has just been imported."""
        _LIBRARIES[library.__name__](library, self.seed)
        self.seeded.append(library.__name__)


class _Finder:
    """Lets Python's own finders find a library, and has it seeded when it has been loaded."""

    def __init__(self, seeding: Seeding) -> None:
        self._seeding = seeding

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _LIBRARIES or name in self._seeding.seeded:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others if hasattr(finder, "find_spec"))
        spec = next(filter(None, found), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._seeding)
        return spec


class _Loader(Loader):
    """Loads a module by its own loader, and gives that back to it."""

    def __init__(self, loader: Any, seeding: Seeding) -> None:
        self._loader = loader
        self._seeding = seeding

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        spec.loader = self._loader
        module: ModuleType | None = self._loader.create_module(spec)
        spec.loader = self  # until it is executed
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._seeding.imported(module)
