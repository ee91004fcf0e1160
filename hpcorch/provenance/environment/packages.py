"""Installed packages, read from the folders that they are installed in; nothing is imported."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

_SEPARATORS = re.compile(r"[-_.]+")
# Old installers kept dashes in names; a version begins with a digit, and an egg's name goes on after it.
_ABOUT = re.compile(r"(?P<name>.+?)(?:-(?P<version>\d[^-]*)(?:-.*)?)?\.(?:dist|egg)-info")
_ENDINGS = (".dist-info", ".egg-info", ".egg-link", ".pth")


def package_folders(sys_path: Sequence[str]) -> list[Path]:
    """The folders of ``sys.path`` that packages are installed in, in order."""
    names = dict.fromkeys(sys_path)
    return [Path(name) for name in names if Path(name).name in ("site-packages", "dist-packages")]


def listing(folder: Path) -> list[tuple[str, int]]:
    """Names and times of modification of what tells of packages in a folder, sorted; none if it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return sorted(
                (one.name, one.stat(follow_symlinks=False).st_mtime_ns)
                for one in found
                if one.name.endswith(_ENDINGS)
            )
    except OSError:
        return []


def packages(folders: Sequence[Path]) -> dict[str, str]:
    """Version and digest of each package's RECORD, by normalised name; of several, the first that is imported.

    The values are ``1.2.3 sha256:<hexadecimal>``, with `` editable`` for an editable install.
    """
    found: dict[str, str] = {}
    for folder in folders:
        for name, _ in listing(folder):
            about = _ABOUT.fullmatch(name)
            if about is not None:
                found.setdefault(
                    normalised(about["name"]), _described(folder / name, about["version"] or "unknown")
                )
    return dict(sorted(found.items()))


def normalised(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return _SEPARATORS.sub("-", name).lower()


def _described(folder: Path, version: str) -> str:
    words = [version]
    for name in ("RECORD", "installed-files.txt", "SOURCES.txt"):
        try:
            words.append("sha256:" + hashlib.sha256((folder / name).read_bytes()).hexdigest())
        except OSError:
            continue
        break
    if _editable(folder):
        words.append("editable")
    return " ".join(words)


def _editable(folder: Path) -> bool:
    """Whether a package is imported from its sources (PEP 610)."""
    try:
        return bool(json.loads((folder / "direct_url.json").read_bytes())["dir_info"]["editable"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
