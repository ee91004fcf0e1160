"""Modules of the project's packages that git ignores: generated ones, built extensions.

They may be imported as late as in the task. Python imports a module from a folder that it looks in, from a package,
and from a folder below either of them, with or without ``__init__.py``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from hpcorch.journal.folders import walk
from hpcorch.journal.snapshots import place, to_text
from hpcorch.provenance.code.search import Search, is_module

# Copies of code, unless they are packages.
_BUILT = frozenset({"build", "dist", "__pypackages__"})
_BUILT_ENDINGS = (".egg-info", ".eggs", ".dist-info")
_SECRETS = frozenset(("secret", "credential", "password", "passwd", "token", "apikey"))


class Packages:
    """The folders of a project that have modules.

    :param sys_path: folders that imports are looked for in
    """

    def __init__(self, sys_path: Iterable[str]) -> None:
        self._folders = set(sys_path)

    def add(self, path: str) -> None:
        """Note a file of the project."""
        if is_module(path):
            self._folders.add(_folder(path))

    def has(self, folder: str) -> bool:
        """Whether Python may import modules from a folder."""
        return folder in self._folders or (folder != "" and _folder(folder) in self._folders)

    def reach_into(self, folder: str) -> list[str]:
        """The folders at or below one that imports are looked for in."""
        return sorted(one for one in self._folders if one == folder or one.startswith(f"{folder}/"))


def ignored_modules(search: Search, ignored: Iterable[str], packages: Packages) -> Iterator[str]:
    """The modules among what git ignores that belong to packages of the project.

    :param ignored: files, and folders with ``/`` at the end
    """
    left = search.limits.ignored
    for path in ignored:
        for module in _of_folder(search, path[:-1], packages) if path.endswith("/") else _of_file(path, packages):
            if _is_secret(module):
                search.leave(module, "git ignores it, and its name is one that secrets have")
                continue
            left -= 1
            if left < 0:
                limit = search.limits.ignored
                search.leave(path, f"git ignores it, and only the first {limit} modules that git ignores are taken")
                return
            yield module


def modules_beside(search: Search, loaded: Iterable[str]) -> Iterator[str]:
    """All modules of the packages that some were loaded from."""
    for top in sorted({top for path in loaded if (top := _top_package(search.root, path))}):
        yield from _walked(search, top)


def _of_file(path: str, packages: Packages) -> Iterator[str]:
    if is_module(path) and packages.has(_folder(path)):
        yield path


def _of_folder(search: Search, folder: str, packages: Packages) -> Iterator[str]:
    known = packages.reach_into(folder)
    if known:
        for one in known:
            yield from _walked(search, one)
    elif packages.has(folder) and _is_wanted(search, folder) and _has_modules(search, folder):
        yield from _walked(search, folder)


def _walked(search: Search, start: str) -> Iterator[str]:
    for folder, folders, names in walk(place(search.root, start)):
        below = Path(folder).relative_to(search.root)
        paths = {name: to_text(os.fsencode(below / name)) for name in (*folders, *names)}
        folders[:] = sorted(name for name in folders if _is_wanted(search, paths[name]))
        yield from (paths[name] for name in sorted(names) if is_module(paths[name]))


def _is_wanted(search: Search, folder: str) -> bool:
    name = folder.rpartition("/")[2]
    if name.startswith(".") or name.endswith(_BUILT_ENDINGS) or not search.is_open(folder):
        return False
    return name not in _BUILT or os.path.exists(place(search.root, folder) / "__init__.py")  # noqa: PTH110


def _has_modules(search: Search, folder: str) -> bool:
    try:
        return any(is_module(name) for name in os.listdir(place(search.root, folder)))  # noqa: PTH208
    except OSError as error:
        search.leave(f"{folder}/", f"it cannot be read ({error.strerror})")
        return False


def _top_package(root: Path, path: str) -> str:
    """The outermost package on the way to a module; empty for one that is in none."""
    top, folder = "", _folder(path)
    while folder and os.path.exists(place(root, folder) / "__init__.py"):  # noqa: PTH110 - it may be closed
        top, folder = folder, _folder(folder)
    return top


def _is_secret(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    words = re.split(r"[^a-z]+", name.removesuffix(".py"))
    return name.endswith(".py") and not _SECRETS.isdisjoint(word.removesuffix("s") for word in words)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
