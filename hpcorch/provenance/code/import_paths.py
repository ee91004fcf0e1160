"""Which files the snapshot of the code stands for, and which modules came from the live tree instead."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from hpcorch.quick_dataclasses import dataclass

_INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """From the project's root to the folder that its code state was unpacked to.

    :param root: absolute, links resolved
    :param tree: absolute
    :param kept: folders below the root that stay: installed packages (``sys.prefix`` of an environment in it), and
        ``tree``
    """

    root: Path
    tree: Path
    kept: tuple[Path, ...] = ()

    @classmethod
    def of(cls, root: Path, tree: Path) -> Move:
        """The move as this interpreter needs it."""
        prefixes = {Path(os.path.realpath(prefix)) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
        real = Path(os.path.realpath(root))
        # A node's disk may be reached by a folder of the project, too.
        prefixes.add(Path(os.path.realpath(tree)))
        kept = sorted(prefix for prefix in prefixes if prefix.is_relative_to(real) and prefix != real)
        return cls(root=real, tree=tree, kept=tuple(kept))

    def __call__(self, path: str, *, cwd: Path) -> str:
        """A path in the snapshot, if it is at or below the root; others as they are.

        :param cwd: what relative paths, and ``""`` in ``sys.path``, are relative to
        """
        real = Path(os.path.realpath(cwd / path))
        if not real.is_relative_to(self.root) or any(real.is_relative_to(prefix) for prefix in self.kept):
            return path
        below = real.relative_to(self.root)
        return path if _INSTALLED & set(below.parts) else str(self.tree / below)


@dataclass(frozen=True, slots=True, kw_only=True)
class EditableInstall:
    """An editable install that imports by a finder of its own (setuptools), not by ``sys.path``.

    :param finder: name of the finder's module
    :param packages: where it finds which package
    """

    finder: str
    packages: Mapping[str, str]


def editable_installs(meta_path: Sequence[Any], modules: Mapping[str, ModuleType]) -> list[EditableInstall]:
    """The editable installs whose finders are among ``sys.meta_path``."""
    names = dict.fromkeys(str(getattr(finder, "__module__", "")) for finder in meta_path)
    found = []
    for name in names:
        packages = getattr(modules.get(name), "MAPPING", None)
        if name.startswith("__editable__") and isinstance(packages, dict):
            found.append(EditableInstall(finder=name, packages={str(key): str(packages[key]) for key in packages}))
    return found


def imported_from(root: Path, modules: Mapping[str, str], *, kept: Sequence[Path] = ()) -> dict[str, str]:
    """Modules that were loaded from the live tree, with their files: each is drift for a run from a snapshot.

    :param modules: with their files
    :param kept: as in :class:`Move`
    """
    top = _inside(os.path.realpath(root))
    passed = tuple(_inside(str(folder)) for folder in kept)
    folders: dict[str, str] = {}  # a process has many modules in few folders
    found = {}
    for name, file in modules.items():
        path = _resolved(file, folders)
        if path is None or not path.startswith(top) or path.startswith(passed):
            continue
        if not _INSTALLED & set(path.split(os.sep)):  # noqa: PTH206 - likewise
            found[name] = file
    return found


def module_files(modules: Mapping[str, ModuleType]) -> dict[str, str]:
    """The files of modules, by the names of the modules; built-in ones have none."""
    files = {name: getattr(module, "__file__", None) for name, module in list(modules.items())}
    return {name: file for name, file in files.items() if isinstance(file, str)}


def _resolved(file: str, folders: dict[str, str]) -> str | None:
    """The file with all links resolved; None if there is no such file.

    Modules that C++ code makes name a file that never was, such as torch's `_ops.py`.
    """
    folder, name = os.path.split(file)
    try:
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        path = os.path.join(folders[folder], name)  # noqa: PTH118 - text, of any content; of every module
        if not stat.S_ISLNK(os.lstat(path).st_mode):
            return path
        path = os.path.realpath(path)
        os.lstat(path)
    except (OSError, ValueError):
        return None
    return path


def _inside(folder: str) -> str:
    """What the paths of all that is in a folder begin with."""
    return folder.rstrip(os.sep) + os.sep
