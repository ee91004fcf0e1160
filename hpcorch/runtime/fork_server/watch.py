"""What a program does while it starts, as far as it matters to runs that are to be forked from it.

Its start is watched, since afterwards nobody can tell what it has read or registered.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from types import FrameType
from typing import Any

from hpcorch.runtime.program.frozen_imports import FrozenSource


class Watch:
    """Watches from now on, until :meth:`end`.

    :ivar read: variables of a run that the program has read, or looked for
    :ivar hooks: where the program has registered exit hooks
    """

    def __init__(self, variables: Collection[str]) -> None:
        """:param variables: those that are not set yet, since they differ from run to run"""
        self._variables = frozenset(variables)
        self._descriptors = open_files()
        self._shared = _shared_memory()
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

    @property
    def descriptors(self) -> frozenset[int]:
        """Those that were open before the program began."""
        return self._descriptors

    def opened(self) -> list[str]:
        """What the program has opened and not closed: files by their names, and others by what they are."""
        found = (_target(number) for number in sorted(open_files() - self._descriptors))
        return [name for name in found if not name.startswith("/dev/")]

    def shared(self) -> list[str]:
        """Memory that the program has mapped so that its children share it."""
        return sorted(_shared_memory() - self._shared)

    def _reading(self, get: Callable[[Any, str], str]) -> Callable[[Any, str], str]:
        def reading(environ: Any, key: str) -> str:
            if key in self._variables:
                self.read.append(key)
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


def _target(descriptor: int) -> str:
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return "?"


def _shared_memory() -> frozenset[str]:
    """Writable mappings that are shared, by what is mapped."""
    try:
        lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    columns = (line.split(None, 5) for line in lines)
    return frozenset(one[-1] if len(one) > 5 else one[0] for one in columns if one[1].startswith("rw-s"))
