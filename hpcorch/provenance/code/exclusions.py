"""What is no code of the project: data, outputs of sweeps and jobs, environments, caches."""

from __future__ import annotations

import os
import re
import sys
from functools import lru_cache
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
_INSTALLED = frozenset({"site-packages", "dist-packages", "node_modules"})
_TRACKERS = frozenset({"lightning_logs", "mlruns", "wandb"})

# What jobs print goes into the folder that they were submitted from, by default (sbatch(1)).
_JOB_OUTPUT = re.compile(r"(?:.*/)?slurm-\d+(?:_\d+)?\.out", re.DOTALL)
# What programs, jobs and people write beside code. YAML, JSON, TOML and text are none: results depend on settings.
_DATA = frozenset(
    (
        *(".arrow", ".avi", ".bin", ".bz2", ".ckpt", ".csv", ".db", ".err", ".feather", ".flac", ".gif", ".gz"),
        *(".h5", ".hdf5", ".jpeg", ".jpg", ".jsonl", ".log", ".mat", ".mp3", ".mp4", ".nc", ".npy", ".npz"),
        *(".onnx", ".out", ".parquet", ".pdf", ".pickle", ".pkl", ".png", ".prof", ".pt", ".pth", ".safetensors"),
        *(".sqlite", ".svg", ".tar", ".tif", ".tiff", ".tsv", ".wav", ".webp", ".xz", ".zip", ".zst"),
    )
)
_EVENTS = "events.out.tfevents."


def is_job_output(path: str) -> bool:
    """Whether a file has the name that Slurm gives to what a job prints."""
    return _JOB_OUTPUT.fullmatch(path) is not None


def is_data(path: str) -> bool:
    """Whether a file looks like data or output by its name. If git tracks it, it is code all the same."""
    name = path.rpartition("/")[2].lower()
    return os.path.splitext(name)[1] in _DATA or name.startswith(_EVENTS)  # noqa: PTH122 - text, of any content


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
    if _has(path, "pyvenv.cfg") or _has(path, "conda-meta"):
        return "it is an environment of installed packages"
    if path.name in _INSTALLED:
        return "it holds installed packages"
    if str(path) in _installations():
        return "it is an installation of Python"
    if os.path.exists(SweepLayout(path).control):  # noqa: PTH110 - as in _has
        return "it is the directory of a sweep"
    if os.path.isdir(path / ".hydra") or _has(path, "multirun.yaml"):  # noqa: PTH112 - as in _has
        return "it is an output directory of Hydra's"
    if _has(path, "bundle.json") and _has(path, "SHA256SUMS"):
        return "it is a bundle of hpcorch's"
    if path.name in _TRACKERS and not _has(path, "__init__.py"):
        return "it holds records of a tracker's"
    return None


@lru_cache(maxsize=1)
def _installations() -> frozenset[str]:
    """Where this interpreter is installed, such as ``~/.pyenv/versions/3.12`` below a home."""
    return frozenset(map(os.path.realpath, (sys.prefix, sys.base_prefix, sys.exec_prefix)))


def _has(folder: Path, name: str) -> bool:
    """Whether a folder has this entry. In one that may not be entered nothing is seen, and nothing is raised."""
    return os.path.exists(folder / name)  # noqa: PTH110 - Path.exists raises PermissionError
