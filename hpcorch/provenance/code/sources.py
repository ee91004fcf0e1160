"""Which files belong to a code state, and which are left out, with the reason for each.

A code state has what git tracks, what it neither tracks nor ignores, and every module file that is loaded already,
ignored or not: a generated ``_version.py``, a built extension. Without git it has the source files below the
script's folder. What Slurm's jobs print is never code.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from hpcorch.journal.snapshots import place, stays_inside, to_bytes, to_text
from hpcorch.provenance.code.code_state import Left, Limits, Source, Sources
from hpcorch.provenance.code.folders import FolderRules
from hpcorch.provenance.code.git import GitError, tracked_files, untracked_files
from hpcorch.provenance.secrets import secret_by_name

# What jobs print goes into the folder that they were submitted from, by default (sbatch(1)).
_JOB_OUTPUT = re.compile(r"(?:.*/)?slurm-\d+(?:_\d+)?\.out", re.DOTALL)
# Without git it is not known what belongs to the code; these look like data by their names.
_DATA = frozenset(
    (
        *(
            ".arrow",
            ".avi",
            ".bin",
            ".bz2",
            ".ckpt",
            ".csv",
            ".db",
            ".feather",
            ".gz",
            ".h5",
            ".hdf5",
            ".jpeg",
            ".jpg",
        ),
        *(
            ".log",
            ".mat",
            ".mp4",
            ".nc",
            ".npy",
            ".npz",
            ".onnx",
            ".out",
            ".parquet",
            ".pickle",
            ".pkl",
            ".png",
            ".pt",
        ),
        *(".pth", ".safetensors", ".sqlite", ".tar", ".tif", ".tiff", ".tsv", ".wav", ".xz", ".zip", ".zst"),
    )
)


def collect(
    root: Path,
    *,
    git: bool,
    limits: Limits | None = None,
    modules: Mapping[str, ModuleType] | None = None,
) -> Sources:
    """Find the files of a code state, without reading them.

    :param root: top folder of the checkout, or the script's folder
    :param git: whether ``root`` is a checkout that git answers for
    :param modules: the modules loaded by now; by default those of this process
    """
    limits = limits or Limits()
    search = _Search(root=root.resolve(), limits=limits)
    for path in loaded_files(search.root, sys.modules if modules is None else modules):
        search.consider(path, loaded=True)
    for path in _named_by_git(search, b"") if git else _walked(search):
        search.consider(path)
    return search.result()


def loaded_files(root: Path, modules: Mapping[str, ModuleType]) -> list[str]:
    """The files below ``root`` that modules were loaded from, relative to it, in order."""
    base = Path(os.path.realpath(root))
    found = set()
    for module in list(modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and os.path.exists(file):  # noqa: PTH110 - text, of any content
            path = Path(file).absolute()
            # The file may be a link, which is kept; the folders on the way to it are real ones in a snapshot.
            real = Path(os.path.realpath(path.parent), path.name)
            if real.is_relative_to(base):
                found.add(to_text(os.fsencode(real.relative_to(base))))
    return sorted(found)


@dataclass(slots=True, kw_only=True)
class _Search:
    """What was found so far."""

    root: Path
    limits: Limits
    rules: FolderRules = field(init=False)
    found: dict[str, Source] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    total: int = 0

    def __post_init__(self) -> None:
        self.rules = FolderRules(self.root)

    def consider(self, path: str, *, loaded: bool = False) -> None:
        """Add a file, or record why it is left out."""
        if path in self.found or path in self.left or _JOB_OUTPUT.fullmatch(path):
            return
        folder = self.rules.excluded(path)
        if folder is not None:
            if folder.reason:
                self.left[f"{folder.path}/"] = folder.reason
            return
        try:
            status = place(self.root, path).lstat()
        except FileNotFoundError:
            return  # tracked and deleted: the diff says so
        except OSError as error:
            self.left[path] = f"it cannot be read ({error.strerror})"
            return
        target = self._target(path) if stat.S_ISLNK(status.st_mode) else None
        reason = self._refused(path, status, target, loaded=loaded)
        if reason is not None:
            self.left[path] = reason
            return
        self.total += status.st_size
        self.found[path] = Source(path=path, status=status, target=target)

    def _refused(self, path: str, status: os.stat_result, target: str | None, *, loaded: bool) -> str | None:
        if secret_by_name(path):
            return "its name is one that secrets have"
        if stat.S_ISLNK(status.st_mode):
            return "it is a link that leads out of the project" if target is None else None
        if not stat.S_ISREG(status.st_mode):
            return "it is not a regular file"
        if status.st_size > self.limits.file_bytes and not loaded:
            return f"it has {status.st_size} bytes, and the limit is {self.limits.file_bytes}"
        if self.total + status.st_size > self.limits.total_bytes:
            return f"the snapshot would have more than {self.limits.total_bytes} bytes with it"
        if len(self.found) >= self.limits.files:
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
        by_bytes = sorted(self.found, key=to_bytes)
        return Sources(
            root=self.root,
            files=tuple(self.found[path] for path in self._below_no_link(by_bytes)),
            left=tuple(Left(path=path, reason=reason) for path, reason in sorted(self.left.items())),
        )

    def _below_no_link(self, paths: Iterable[str]) -> Iterator[str]:
        """All but what git names below a folder that has become a link since."""
        links = tuple(f"{path}/" for path, source in self.found.items() if source.target is not None)
        return (path for path in paths if not links or not path.startswith(links))


def _named_by_git(search: _Search, prefix: bytes) -> Iterator[str]:
    """What git names, and what it names in submodules and in checkouts below."""
    folder = search.root / os.fsdecode(prefix)
    try:
        tracked, untracked = tracked_files(folder), untracked_files(folder)
    except GitError as error:
        search.left[to_text(prefix) or "./"] = f"its files are not known: {error}"
        return
    for name in sorted({*tracked, *untracked}):
        below = prefix + name.rstrip(b"/")
        inner = place(search.root, to_text(below))
        if inner.is_dir() and not inner.is_symlink():
            if (inner / ".git").exists() and search.rules.excluded(f"{to_text(below)}/.") is None:
                yield from _named_by_git(search, below + b"/")
        else:
            yield to_text(below)


def _walked(search: _Search) -> Iterator[str]:
    """The source files of a tree without git: no hidden files, no data."""
    seen = 0
    for folder, folders, names in os.walk(search.root):
        below = Path(folder).relative_to(search.root)
        paths = {name: to_text(os.fsencode(below / name)) for name in (*folders, *names)}
        linked = [name for name in folders if (search.root / below / name).is_symlink()]
        folders[:] = sorted(name for name in folders if name not in linked and _wanted_folder(search, paths[name]))
        for name in sorted([*names, *linked]):
            seen += 1
            if seen > search.limits.seen:
                search.left["./"] = f"without git only the first {search.limits.seen} files of the folder are taken"
                return
            path = paths[name]
            if Path(name).suffix.lower() in _DATA:
                search.left[path] = "it looks like a data file by its name, and the project is not in git"
            elif not name.startswith("."):
                yield path


def _wanted_folder(search: _Search, path: str) -> bool:
    excluded = search.rules.excluded(f"{path}/.")
    if excluded is not None and excluded.reason:
        search.left[f"{excluded.path}/"] = excluded.reason
    return excluded is None and not path.rpartition("/")[2].startswith(".")
