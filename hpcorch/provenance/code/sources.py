"""Which files belong to a code state, and which are left out, with the reason for each.

A code state has every module file that is loaded already, what git tracks, what it neither tracks nor ignores and
is no data, and, of what it ignores, modules of the project's packages: a generated ``_version.py``, a built
extension. Without git it has the source files of the project's folder, and without a project the script alone.

A project is a git checkout; else the nearest folder around the script that a mark of a project is in; else the
script's own folder. A home, and a folder that everybody writes to, such as ``/tmp``, are no projects: what else is
in them has nothing to do with the script.
"""

from __future__ import annotations

import os
import pwd
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import ModuleType

from hpcorch.journal.folders import walk
from hpcorch.journal.layout import LEDGER_NAME, SITE_NAME, STATE_DIR
from hpcorch.journal.project_search import is_everybodys
from hpcorch.journal.snapshots import place, to_text
from hpcorch.provenance.code.code_state import Limits, Sources
from hpcorch.provenance.code.git import Checkout, GitError, ignored_paths, tracked_files, untracked_files
from hpcorch.provenance.code.packages import Packages, ignored_modules, modules_beside
from hpcorch.provenance.code.search import Search
from hpcorch.quick_dataclasses import dataclass

_NO_PROJECT = (
    "it is a home or a folder for temporary files, so only the script, loaded modules and what git tracks are taken"
    " from it; put the code into a folder of its own"
)
_MARKS = (
    *(".git", ".hg", ".svn", f"{STATE_DIR}/{LEDGER_NAME}", f"{STATE_DIR}/{SITE_NAME}"),
    *("pyproject.toml", "setup.py", "setup.cfg"),
)


def collect(
    project: Project,
    *,
    limits: Limits | None = None,
    modules: Mapping[str, ModuleType] | None = None,
    sys_path: Sequence[str] = (),
    known: Iterable[str] = (),
) -> Sources:
    """Find the files of a code state, without reading them. What cannot be read is left out, and stops nothing.

    :param modules: the modules loaded by now; by default those of this process
    :param sys_path: where imports are looked for
    :param known: paths below the root that belong to the code wherever they are still there
    """
    search = Search(root=project.root.resolve(), limits=limits or Limits())
    loaded = loaded_files(search.root, sys.modules if modules is None else modules)
    for path in loaded:
        search.consider(path, is_loaded=True)
    for script in project.scripts:
        search.consider(script, is_tracked=True)
    if project.is_checkout:
        _take_checkout(search, b"", _below(search.root, sys_path), untracked=project.is_whole)
    elif project.is_whole:
        _take_folder(search, project.start)
    if not project.is_whole:
        search.leave("./", _NO_PROJECT)
        for path in modules_beside(search, loaded):
            search.consider(path)
    for path in known:
        search.consider(path, is_loaded=True)
    return replace(search.result(), is_whole=project.is_whole)


def loaded_files(root: Path, modules: Mapping[str, ModuleType]) -> list[str]:
    """The files below ``root`` that modules were loaded from, relative to it, in order; archives among them."""
    base = Path(os.path.realpath(root))
    found = set()
    for module in list(modules.values()):
        file = getattr(getattr(module, "__loader__", None), "archive", None) or getattr(module, "__file__", None)
        if isinstance(file, str) and os.path.exists(file):  # noqa: PTH110 - text, of any content
            path = Path(file).absolute()
            # The file may be a link, which is kept; the folders on the way to it are real ones in a snapshot.
            real = Path(os.path.realpath(path.parent), path.name)
            if real.is_relative_to(base):
                found.add(to_text(os.fsencode(real.relative_to(base))))
    return sorted(found)


def _below(root: Path, sys_path: Iterable[str]) -> frozenset[str]:
    """The folders at or below the root that imports are looked for in, relative to it."""
    folders = (Path(os.path.realpath(entry)) for entry in sys_path)
    below = (folder.relative_to(root) for folder in folders if folder.is_relative_to(root))
    return frozenset("" if folder == Path() else to_text(os.fsencode(folder)) for folder in below)


def _take_checkout(search: Search, prefix: bytes, sys_path: frozenset[str], *, untracked: bool) -> None:
    """Take what git names, and what it names in submodules and in checkouts below.

    :param prefix: of the checkout in the code state, with ``/`` at the end
    :param untracked: whether what git does not track may be code, too
    """
    folder = search.root / os.fsdecode(prefix)
    try:
        tracked = set(tracked_files(folder))
        others, closed = untracked_files(folder) if untracked else ([], [])
        ignored = ignored_paths(folder) if untracked else []
    except GitError as error:
        search.leave(to_text(prefix) or "./", f"its files are not known: {error}")
        return
    for name in closed:
        search.leave(f"{to_text(prefix + name)}/", "it cannot be read")
    packages = Packages(sys_path)
    for name in sorted({*tracked, *others}):
        below = prefix + name.rstrip(b"/")
        path, inner = to_text(below), os.fsencode(search.root) + b"/" + below
        if os.path.isdir(inner) and not os.path.islink(inner):  # noqa: PTH112, PTH114 - it may be closed
            if os.path.exists(inner + b"/.git") and search.is_open(path):  # noqa: PTH110 - likewise
                _take_checkout(search, below + b"/", sys_path, untracked=untracked)
        else:
            packages.add(path)
            search.consider(path, is_tracked=name in tracked)
    for path in ignored_modules(search, [to_text(prefix + name) for name in ignored], packages):
        search.consider(path)


def _take_folder(search: Search, start: str) -> None:
    """Take the source files of a tree without git: no hidden files, no data.

    :param start: the folder that the search begins with, so that what is beside the script is found first
    """
    limit = search.limits.seen
    for number, path in enumerate(chain(_walked(search, start, ""), _walked(search, "", start) if start else ())):
        if number >= limit:
            search.leave("./", f"without git only the first {limit} files of the folder are taken")
            return
        search.consider(path)


def _walked(search: Search, start: str, known: str) -> Iterator[str]:
    """The files below a folder, hidden ones left out; not those below a folder that is known."""

    def closed(error: OSError) -> None:
        folder = Path(os.fsdecode(error.filename)).relative_to(search.root)
        search.leave(f"{to_text(os.fsencode(folder))}/", f"it cannot be read ({error.strerror})")

    for folder, folders, names in walk(place(search.root, start), on_error=closed):
        below = Path(folder).relative_to(search.root)
        paths = {name: to_text(os.fsencode(below / name)) for name in (*folders, *names) if name[0] != "."}
        linked = [name for name in folders if (search.root / below / name).is_symlink()]
        entered = (name for name in folders if name in paths and name not in linked and paths[name] != known)
        folders[:] = sorted(name for name in entered if search.is_open(paths[name]))
        yield from (paths[name] for name in sorted([*names, *linked]) if name in paths)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What the code of a script is looked for in.

    :param root: what paths are relative to
    :param is_checkout: whether git answers for it
    :param is_whole: whether all of it is code; else only what git tracks, the scripts, and what is loaded
    :param start: the script's folder, relative to the root; empty for the root
    :param scripts: files that are code whatever else is, relative to the root
    """

    root: Path
    is_checkout: bool = False
    is_whole: bool = True
    start: str = ""
    scripts: tuple[str, ...] = ()


def project_of(
    folder: Path, checkout: Checkout, *, scripts: Iterable[Path] = (), ledger: Path | None = None
) -> Project:
    """The project that a script in this folder belongs to.

    :param checkout: that git finds around the folder
    :param scripts: absolute; those outside of the root are not taken
    :param ledger: the ledger's file: the folder that it serves is a project
    """
    start = Path(os.path.realpath(folder))
    served = ledger.parent.parent if ledger is not None and ledger.parent.name == STATE_DIR else None
    root = Path(checkout.root) if checkout.root is not None else _marked(start, served) or start
    real = Path(os.path.realpath(root))
    return Project(
        root=root,
        is_checkout=checkout.root is not None,
        is_whole=not is_shared(real),
        start=_relative(start, real),
        scripts=tuple(sorted(_within(scripts, real))),
    )


def is_shared(folder: Path) -> bool:
    """Whether a folder, links resolved, is a home or is for temporary files of this user's or of everybody's.

    So is what is above a home or the system's folder for temporary files.
    """
    temporary = Path(os.path.realpath(tempfile.gettempdir()))
    if folder == temporary or folder == Path(folder.root) or any(home.is_relative_to(folder) for home in _homes()):
        return True
    try:
        status = folder.stat()
    except OSError:
        return False
    return is_everybodys(folder) or folder in _homes(status.st_uid)


def _homes(user: int | None = None) -> Iterator[Path]:
    """The home of a user; of this one also what $HOME says."""
    with suppress(KeyError):
        yield Path(os.path.realpath(pwd.getpwuid(os.geteuid() if user is None else user).pw_dir))
    if user is None and (home := os.environ.get("HOME")):
        yield Path(os.path.realpath(home))


def _marked(start: Path, served: Path | None) -> Path | None:
    """The nearest folder around the start that a mark of a project is in, unless another user's mark it is."""
    owner = _owner(start)
    for folder in (start, *start.parents):
        if is_shared(folder) or _owner(folder) != owner:
            return None
        if folder == served or any(os.path.exists(folder / mark) for mark in _MARKS):  # noqa: PTH110 - may be closed
            return folder
    return None


def _owner(folder: Path) -> int | None:
    try:
        return folder.stat().st_uid
    except OSError:
        return None


def _relative(path: Path, root: Path) -> str:
    below = path.relative_to(root)
    return "" if below == Path() else to_text(os.fsencode(below))


def _within(scripts: Iterable[Path], root: Path) -> Iterator[str]:
    for script in scripts:
        real = Path(os.path.realpath(script.parent), script.name)
        if real.is_relative_to(root) and os.path.isfile(real):  # noqa: PTH113 - it may be closed
            yield _relative(real, root)
