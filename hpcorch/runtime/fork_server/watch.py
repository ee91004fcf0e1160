"""What a program does while it starts, as far as it matters to runs that are to be forked from it.

Its start is watched, since afterwards nobody can tell what it has read or registered.
"""

from __future__ import annotations

import atexit
import gc
import os
import random
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from types import FrameType
from typing import Any

from hpcorch.runtime.program.frozen_imports import FrozenSource


class Watch:
    """Watches from now on, until :meth:`end`.

    :ivar descriptors: those that were open before the program began
    :ivar read: variables of a run that the program has read, or looked for
    :ivar hooks: where the program has registered exit hooks
    """

    def __init__(self, variables: Collection[str]) -> None:
        """:param variables: those that differ from run to run; they are empty until there is one"""
        os.environ.update(dict.fromkeys(variables, ""))  # who reads all variables is seen, too
        self._variables: frozenset[str | bytes] = frozenset((*variables, *map(os.fsencode, variables)))
        self.descriptors = open_files()
        self._shared = _shared_memory()
        self._generators = {id(one) for one in _generators()}
        self.read: list[str] = []
        self.hooks: list[str] = []
        environ: Any = type(os.environ)
        self._put_back = [
            (environ, "__getitem__", environ.__getitem__),
            (atexit, "register", atexit.register),
        ]
        environ.__getitem__ = self._reading(environ.__getitem__)
        atexit.register = self._registering(atexit.register)

    def end(self) -> None:
        """Watch no more."""
        for place, name, original in self._put_back:
            setattr(place, name, original)

    def opened(self) -> list[str]:
        """What the program has opened and not closed: files by their names, and others by what they are."""
        found = (target_of(number) for number in sorted(open_files() - self.descriptors))
        return [name for name in found if not name.startswith("/dev/")]

    def shared(self) -> list[str]:
        """Memory that the program has mapped so that its children share it."""
        return sorted(_shared_memory() - self._shared)

    def made_generators(self) -> list[str]:
        """Random generators that the program, or a library that it has imported, has made, by their types."""
        numpy, tempfile = sys.modules.get("numpy.random.mtrand"), sys.modules.get("tempfile")
        names = getattr(tempfile, "_name_sequence", None)  # it makes another one in a forked process
        known = {id(getattr(numpy, "_rand", None)), id(getattr(names, "_rng", None))}  # each run seeds the former
        return [type(one).__name__ for one in _generators() if id(one) not in known | self._generators]

    def _reading(self, get: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def reading(environ: Any, key: Any) -> Any:
            if key in self._variables:
                self.read.append(os.fsdecode(key))
            return get(environ, key)

        return reading

    def _registering(self, register: Callable[..., Any]) -> Callable[..., Any]:
        def registering(function: Any, /, *arguments: Any, **named: Any) -> Any:
            caller = sys._getframe(1)  # noqa: SLF001 - as inspect.currentframe
            if _is_of_program(caller):
                self.hooks.append(f"{Path(caller.f_code.co_filename).name}, line {caller.f_lineno}")
            return register(function, *arguments, **named)

        return registering


def _is_of_program(frame: FrameType) -> bool:
    values = frame.f_globals
    return values.get("__name__") == "__main__" or isinstance(values.get("__loader__"), FrozenSource)


def open_files() -> frozenset[int]:
    """The descriptors of this process."""
    listed = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    return frozenset(number for number in listed if _is_open(number))  # without that of the listing


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def target_of(descriptor: int) -> str:
    """What is open there, by its name or by what it is; ``?`` if it has been closed."""
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return "?"


def _shared_memory() -> frozenset[str]:
    """Writable mappings that are shared, by what is mapped."""
    try:
        columns = mappings()
    except OSError:
        return frozenset()
    return frozenset(one[-1] if len(one) > 5 else one[0] for one in columns if one[1].startswith("rw-s"))


def mappings() -> list[list[str]]:
    """The columns of this process's memory map (proc_pid_maps(5)); the sixth, if it is there, is what is mapped."""
    return [line.split(None, 5) for line in Path("/proc/self/maps").read_text(errors="replace").splitlines()]


def _generators() -> list[Any]:
    return [one for one in gc.get_objects() if is_generator(one)]


def is_generator(value: Any) -> bool:
    """Whether something draws random numbers: of Python's, NumPy's or PyTorch's generators."""
    kind = type(value)
    if issubclass(kind, random.Random):
        return not issubclass(kind, random.SystemRandom)
    return kind.__name__ in ("Generator", "RandomState") and kind.__module__.startswith(("numpy.random", "torch"))
