"""Which folder's files are the code of a script: those of its project, or the script alone.

A project is a git checkout; else the nearest folder around the script that a mark of a project is in; else the
script's own folder. A home, and a folder that everybody writes to, such as ``/tmp``, are no projects: what else is
in them has nothing to do with the script.
"""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from hpcorch.journal.layout import LEDGER_NAME, SITE_NAME, STATE_DIR
from hpcorch.journal.project_search import is_everybodys
from hpcorch.journal.snapshots import to_text
from hpcorch.provenance.code.git import Checkout
from hpcorch.quick_dataclasses import dataclass

_MARKS = (
    *(".git", ".hg", ".svn", f"{STATE_DIR}/{LEDGER_NAME}", f"{STATE_DIR}/{SITE_NAME}"),
    *("pyproject.toml", "setup.py", "setup.cfg"),
)


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
