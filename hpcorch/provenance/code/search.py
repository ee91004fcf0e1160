"""The files of a code state while they are searched for: each is taken, or left out with a reason."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hpcorch.journal.snapshots import place, stays_inside, to_bytes, to_text
from hpcorch.provenance.code.code_state import Left, Limits, Source, Sources
from hpcorch.provenance.code.exclusions import ExcludedFolder, FolderRules, is_data, is_job_output
from hpcorch.provenance.secrets import secret_by_name

_EXTENSION = re.compile(r".*\.(?:so(?:\.[\d.]+)?|pyd)", re.DOTALL)
_DATA = "it looks like data by its name, and git does not track it"


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
            self.leave(path, _DATA, is_usual=True)
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
