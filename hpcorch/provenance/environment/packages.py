"""Installed packages, read from the folders that they are installed in; nothing is imported."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from hpcorch import tunables

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


def altered_files(folders: Sequence[Path], modules: Mapping[str, ModuleType]) -> dict[str, str]:
    """Loaded modules of installed packages that are not as they were installed, each with a sentence.

    Only files younger than their package's RECORD are read, so that this costs a look at each loaded module.
    """
    found: dict[str, str] = {}
    files = [getattr(module, "__file__", None) for module in list(modules.values())]
    loaded = {file for file in files if isinstance(file, str)}
    for folder in folders:
        inside = {str(Path(file).relative_to(folder)): Path(file) for file in loaded if _is_below(file, folder)}
        if inside:
            for name, _ in listing(folder):
                found.update(_altered(folder / name, inside))
    return found


def _is_below(file: str, folder: Path) -> bool:
    return file.startswith(f"{folder}{os.sep}")


def _altered(package: Path, inside: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    try:
        record = package / "RECORD"
        installed = record.stat().st_mtime
        with record.open(newline="", encoding="utf-8") as file:
            promised = {row[0]: row[1] for row in csv.reader(file) if len(row) > 1 and row[0] in inside and row[1]}
        for name, digest in promised.items():
            young = inside[name].stat().st_mtime > installed + tunables.INSTALLATION_S
            if young and _record_digest(inside[name], digest) != digest:
                yield name, f"{name} was changed after {package.stem} was installed"
    except (OSError, ValueError):
        return


def _record_digest(path: Path, like: str) -> str:
    """The digest of a file as RECORD has it, by the same algorithm (PEP 376)."""
    algorithm = like.partition("=")[0]
    digest = hashlib.new(algorithm, path.read_bytes()).digest()
    return f"{algorithm}={base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
