"""Folders that hold no code of the project: outputs of sweeps and jobs, environments, caches."""

from __future__ import annotations

import re
from pathlib import Path

from hpcorch.journal.layout import STATE_DIR, SweepLayout
from hpcorch.journal.snapshots import place
from hpcorch.quick_dataclasses import dataclass

# These are left out without a note.
_SILENT = frozenset(
    (
        *(".git", ".hg", ".svn", STATE_DIR, "__pycache__", ".ipynb_checkpoints"),
        *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".nox"),
    )
)
# Where code states are unpacked, should $TMPDIR be in the project.
_UNPACKED = re.compile(r"hpcorch-\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedFolder:
    """A folder that is left out; the reason is None if it is obvious."""

    path: str
    reason: str | None


class FolderRules:
    """Tells, once for each folder below ``root``, whether it is left out. ``root`` itself never is."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, ExcludedFolder | None] = {"": None}

    def excluded(self, path: str) -> ExcludedFolder | None:
        """The outermost folder on the way to a file that is left out, if there is one."""
        return self._look(path.rpartition("/")[0])

    def _look(self, folder: str) -> ExcludedFolder | None:
        if folder not in self._known:
            above = self._look(folder.rpartition("/")[0])
            self._known[folder] = above or self._judge(folder)
        return self._known[folder]

    def _judge(self, folder: str) -> ExcludedFolder | None:
        name = folder.rpartition("/")[2]
        if name in _SILENT or _UNPACKED.fullmatch(name):
            return ExcludedFolder(path=folder, reason=None)
        reason = _reason(place(self._root, folder))
        return None if reason is None else ExcludedFolder(path=folder, reason=reason)


def _reason(path: Path) -> str | None:
    if (path / "pyvenv.cfg").exists() or (path / "conda-meta").exists():
        return "it is an environment of installed packages"
    if path.name in ("site-packages", "dist-packages"):
        return "it holds installed packages"
    if SweepLayout(path).control.exists():
        return "it is the directory of a sweep"
    if (path / ".hydra").is_dir() or (path / "multirun.yaml").exists():
        return "it is an output directory of Hydra's"
    return None
