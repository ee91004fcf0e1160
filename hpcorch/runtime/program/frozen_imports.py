"""Modules of the project, executed from the snapshot under the names of the files that they have in the project.

The code is the frozen one, and everything else is where the program thinks it is: ``__file__``, ``__path__`` and
``sys.path`` name the project's own folders, so data, ``.env`` and ``.git`` are found beside the code, and what is
written beside it stays. Tracebacks and :mod:`inspect` show the frozen lines. An extension module is loaded from the
snapshot's copy. Used in a job, and by every Python process that it starts.
"""

from __future__ import annotations

import importlib.util
import io
import linecache
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeAlias

from hpcorch.provenance.code.import_paths import Move, editable_installs

_OURS = ("hpcorch", "hydra_plugins.hpcorch_launcher")  # they run already, wherever they are from

Teller: TypeAlias = Callable[[str, str], None]
"""Takes the name and the file of a module that comes from the live tree, because the snapshot has none of it."""


class FrozenSource(SourceFileLoader):
    """Loads a module from a file of the snapshot, as the file that it stands for."""

    def __init__(self, name: str, path: str, frozen: str) -> None:
        super().__init__(name, path)
        self._frozen = frozen

    def get_data(self, path: str) -> bytes:
        """The frozen source; any other file, such as one that belongs to the package, is read where it is."""
        return super().get_data(self._frozen if path == self.path else path)

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - as Python calls it
        """The frozen code, compiled here: a byte code file beside the live source is none of it."""
        source = self.get_data(self.path)
        remember_lines(self.path, source)
        code: CodeType = self.source_to_code(source, self.path)
        return code


class FrozenExtension(ExtensionFileLoader):
    """Loads an extension module from its copy in the snapshot."""

    def __init__(self, name: str, path: str, frozen: str) -> None:
        super().__init__(name, path)
        self._frozen = frozen

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module, whose ``__file__`` is the project's own."""
        return super().create_module(ModuleSpec(spec.name, self, origin=self._frozen))


class FrozenFinder:
    """Finds the project's modules in the snapshot, whatever folders the program adds to ``sys.path``.

    What only the live tree has is found there, and told.
    """

    def __init__(self, move: Move, cwd: Path, tell: Teller) -> None:
        self._move = move
        self._cwd = cwd
        self._tell = tell
        self._known: dict[str, str] = {}
        self._editable = _editable_packages()

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As Python's own finders do; None if the project has no such module."""
        if is_ours(name):
            return None
        places = [(str(entry), self.frozen(str(entry))) for entry in (sys.path if path is None else path)]
        if name in self._editable:
            folder = os.path.dirname(self._editable[name])  # noqa: PTH120 - entries of sys.path are texts
            places.insert(0, (folder, self.frozen(folder)))
        spec = PathFinder.find_spec(name, [there for _, there in places], target)
        if spec is not None and spec.loader is not None:
            return self._as_live(spec, places)
        live = PathFinder.find_spec(name, [entry for entry, there in places if entry != there], target)
        if live is None or live.loader is None:
            return spec and self._as_live(spec, places)  # a folder without __init__.py has no code of its own
        if live.origin is not None and self.frozen(live.origin) != live.origin:
            self._tell(name, live.origin)
        return live

    def loader(self, name: str, file: str) -> SourceFileLoader:
        """What loads a file of the project, or another, as a module of that name."""
        there = self.frozen(file)
        is_frozen = there != file and Path(there).is_file()
        return FrozenSource(name, file, there) if is_frozen else SourceFileLoader(name, file)

    def frozen(self, path: str) -> str:
        """Where the snapshot has a file or folder; the path itself if it is not below the project's root."""
        if path not in self._known:
            self._known[path] = self._move(path, cwd=self._cwd)
        return self._known[path]

    def open_code(self, path: str) -> Any:
        """:func:`io.open_code`, which :mod:`runpy` uses, for a file of which the snapshot has one."""
        there = self.frozen(path)
        is_frozen = there != path and Path(there).is_file()
        if is_frozen:
            remember_lines(path, Path(there).read_bytes())
        return _open_code(there if is_frozen else path)

    def _as_live(self, spec: ModuleSpec, places: Sequence[tuple[str, str]]) -> ModuleSpec:
        """What was found in the snapshot, as if it had been found in the project."""

        def live(path: str) -> str:
            for entry, there in places:
                if entry != there and path.startswith(there + os.sep):
                    return (entry or str(self._cwd)) + path.removeprefix(there)
            return path

        if spec.loader is None:
            portions = spec.submodule_search_locations
            assert portions is not None
            kind: Any = type(portions)  # importlib.resources insists on its class
            spec.submodule_search_locations = kind(spec.name, [live(one) for one in portions], self.find_spec)
            return spec
        origin = spec.origin or ""
        path = live(origin)
        if path == origin:
            return spec
        kinds: Mapping[type, type[FrozenSource] | type[FrozenExtension]] = {
            SourceFileLoader: FrozenSource,
            ExtensionFileLoader: FrozenExtension,
        }
        make = kinds.get(type(spec.loader))
        if make is None:
            return spec
        found = importlib.util.spec_from_file_location(
            spec.name,
            path,
            loader=make(spec.name, path, origin),
            submodule_search_locations=spec.submodule_search_locations and [str(Path(path).parent)],
        )
        assert found is not None
        return found


_open_code: Callable[[str], Any] = io.open_code


def enter(move: Move, cwd: Path, tell: Teller) -> FrozenFinder:
    """Let this process import from the snapshot, from now on."""
    finder = FrozenFinder(move, cwd, tell)
    place = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
    sys.meta_path.insert(place, finder)
    io.open_code = finder.open_code
    return finder


def is_ours(name: str) -> bool:
    """Whether a module is hpcorch's own."""
    return name in _OURS or name.startswith("hpcorch.")


def is_frozen(module: ModuleType) -> bool:
    """Whether a module was loaded from the snapshot."""
    spec = getattr(module, "__spec__", None)
    loader = getattr(module, "__loader__", None) if spec is None else spec.loader
    return isinstance(loader, (FrozenSource, FrozenExtension))


def remember_lines(path: str, source: bytes) -> None:
    """Have tracebacks and :mod:`inspect` show these lines as those of the file."""
    try:
        text = importlib.util.decode_source(source)
    except (SyntaxError, UnicodeDecodeError):  # compiling it says so
        return
    lines = text.splitlines(keepends=True)
    linecache.cache[path] = (len(source), None, lines, path)  # without a time it is never compared with the file


def _editable_packages() -> dict[str, str]:
    """The packages of editable installs that have a finder of their own, with their folders."""
    found: dict[str, str] = {}
    for install in editable_installs(sys.meta_path, sys.modules):
        found.update(install.packages)
    return found
