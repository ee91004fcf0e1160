"""The files of a code state while they are searched for: each is taken, or left out with a reason.

What is no code of the project: data, outputs of sweeps and jobs, environments, caches.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from hpcorch.journal.layout import STATE_DIR, SweepLayout
from hpcorch.journal.snapshots import place, stays_inside, to_bytes, to_text
from hpcorch.provenance.code.code_state import Left, Limits, Source, Sources
from hpcorch.provenance.secrets import secret_by_name

_EXTENSION = re.compile(r".*\.(?:so(?:\.[\d.]+)?|pyd)", re.DOTALL)
_LOOKS_LIKE_DATA = "it looks like data by its name, and git does not track it"

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


def is_module(path: str) -> bool:
    """Whether Python imports such a file, or loads it with an extension module."""
    return path.endswith(".py") or is_extension(path)


def is_extension(path: str) -> bool:
    """Whether a file is a built extension module, or a library of one."""
    return (".so" in path or ".pyd" in path) and _EXTENSION.fullmatch(path) is not None


@dataclass(slots=True, kw_only=True)
class Search:
    """What was found so far.

    :param root: absolute, links resolved
    """

    root: Path
    limits: Limits
    rules: FolderRules = field(init=False)
    _found: dict[str, Source] = field(default_factory=dict)
    _left: dict[str, Left] = field(default_factory=dict)
    _total: int = 0

    def __post_init__(self) -> None:
        self.rules = FolderRules(self.root)

    def is_open(self, folder: str) -> bool:
        """Whether code may be in a folder; one that is left out for a reason is noted."""
        return self._allows(self.rules.excluded(f"{folder}/."))

    def _allows(self, excluded: ExcludedFolder | None) -> bool:
        if excluded is not None and excluded.reason:
            self.leave(f"{excluded.path}/", excluded.reason, is_usual=True)
        return excluded is None

    def leave(self, path: str, reason: str, *, is_usual: bool = False) -> None:
        """Note that something is left out, unless it has been taken for another reason."""
        if path not in self._found:
            self._left[path] = Left(path=path, reason=reason, is_usual=is_usual)

    def consider(self, path: str, *, is_tracked: bool = False, is_loaded: bool = False) -> None:
        """Take a file, or note why it is left out.

        :param is_tracked: git has it: it is code whatever it looks like
        :param is_loaded: a module was loaded from it: it may be of any size
        """
        if path in self._found or path in self._left or is_job_output(path):
            return
        if not self._allows(self.rules.excluded(path)):
            return
        if not (is_tracked or is_loaded) and is_data(path):
            self.leave(path, _LOOKS_LIKE_DATA, is_usual=True)
            return
        try:
            status = os.lstat(os.fsencode(self.root) + b"/" + to_bytes(path))
        except (FileNotFoundError, NotADirectoryError):
            return  # tracked and deleted: the diff says so
        except OSError as error:
            self.leave(path, f"it cannot be read ({error.strerror})")
            return
        target = self._target(path) if stat.S_ISLNK(status.st_mode) else None
        reason = self._refused(path, status, target, is_loaded=is_loaded)
        if reason is not None:
            self.leave(path, reason)
            return
        self._total += status.st_size
        self._found[path] = Source(path=path, status=status, target=target)

    def _refused(self, path: str, status: os.stat_result, target: str | None, *, is_loaded: bool) -> str | None:
        if secret_by_name(path):
            return "its name is one that secrets have"
        if stat.S_ISLNK(status.st_mode):
            return "it is a link that leads out of the project" if target is None else None
        if not stat.S_ISREG(status.st_mode):
            return "it is not a regular file"
        if status.st_size > self.limits.file_bytes and not is_loaded:
            limit = self.limits.extension_bytes if is_extension(path) else self.limits.file_bytes
            if status.st_size > limit:
                return f"it has {status.st_size} bytes, and the limit is {limit}"
        if self._total + status.st_size > self.limits.total_bytes:
            return f"the snapshot would have more than {self.limits.total_bytes} bytes with it"
        if len(self._found) >= self.limits.files:
            return f"the snapshot would have more than {self.limits.files} files with it"
        return None

    def _target(self, path: str) -> str | None:
        """Where a link points to, relative to its folder; None if that is outside, or cannot be told."""
        link = place(self.root, path)
        try:
            target = link.readlink()
        except OSError:
            return None
        if target.is_absolute():
            # A link by absolute path would lead from the snapshot back to the live files.
            within = Path(os.path.realpath(target.parent), target.name)
            target = Path(os.path.relpath(within, link.parent))
        text = to_text(os.fsencode(target))
        inside = Path(os.path.realpath(link)).is_relative_to(self.root)
        return text if inside and stays_inside(path, text) else None

    def result(self) -> Sources:
        """What belongs to the code state, and what does not."""
        by_bytes = sorted(self._found, key=to_bytes)
        return Sources(
            root=self.root,
            files=tuple(self._found[path] for path in self._below_no_link(by_bytes)),
            left=tuple(self._left[path] for path in sorted(self._left)),
        )

    def _below_no_link(self, paths: Iterable[str]) -> Iterator[str]:
        """All but what git names below a folder that has become a link since."""
        links = tuple(f"{path}/" for path, source in self._found.items() if source.target is not None)
        return (path for path in paths if not links or not path.startswith(links))


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
