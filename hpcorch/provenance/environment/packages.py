"""Installed packages, read from the folders that they are installed in; nothing is imported.

Every run looks before its task is called and when it is over whether its loaded modules are as they were installed.
A package's RECORD has the digests of its files. To read every RECORD would cost a run a hundred files of a network
file system. So the launch notes which packages own what (:func:`owners`), and a run looks only at the packages that
it has modules of.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from hpcorch import tunables

Owners = Mapping[str, Mapping[str, Sequence[str]]]
"""Folder of installed packages -> first part of a path in it -> ``*.dist-info`` of the packages with such files."""

_FIRST_PART = re.compile(rb"^[^/,\r\n]+", re.MULTILINE)
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


def owners(folders: Iterable[Path]) -> dict[str, dict[str, list[str]]]:
    """Which packages have which folders and modules; all RECORDs are read."""
    found: dict[str, dict[str, list[str]]] = {}
    for folder in folders:
        owned = found.setdefault(str(folder), {})
        for name, _ in listing(folder):
            try:
                content = (folder / name / "RECORD").read_bytes()
            except OSError:
                continue
            for first in {os.fsdecode(part) for part in _FIRST_PART.findall(content)} - {"..", name}:
                owned.setdefault(first, []).append(name)
    return found


class InstalledFiles:
    """Compares the modules of one process, each once.

    :param owners: as of an environment with the same packages; None if it is not known: then all packages are asked
    """

    def __init__(self, owners: Owners | None = None) -> None:
        self._owners = owners
        self._seen: set[str] = set()

    def altered(self, folders: Iterable[Path], files: Collection[str]) -> dict[str, str]:
        """The files that were changed after installation, each with a sentence.

        Only a file younger than its package's RECORD is read. What an earlier call was asked about is passed over.

        :param folders: that packages are installed in
        :param files: of loaded modules
        """
        fresh = set(files) - self._seen
        self._seen |= fresh
        found: dict[str, str] = {}
        for folder in folders:
            prefix = f"{folder}{os.sep}"
            inside = {file[len(prefix) :]: file for file in fresh if file.startswith(prefix)}
            for package, files_of_it in self._by_package(folder, _times(inside)).items():
                found.update(_altered(folder / package, files_of_it, folder))
        return found

    def _by_package(self, folder: Path, times: Mapping[str, float]) -> dict[str, dict[str, float]]:
        """Packages that may have these files, with those that each may have."""
        if not times:
            return {}
        owned = None if self._owners is None else self._owners.get(str(folder))
        if owned is None:
            return {name: dict(times) for name, _ in listing(folder)}
        found: dict[str, dict[str, float]] = {}
        for name, time in times.items():
            for package in owned.get(name.partition(os.sep)[0], ()):
                found.setdefault(package, {})[name] = time
        return found


def _times(inside: Mapping[str, str]) -> dict[str, float]:
    """When files were modified last; what cannot be seen is left out."""
    found = {}
    for name, file in inside.items():
        try:
            found[name] = os.stat(file).st_mtime  # noqa: PTH116 - of every loaded module
        except (OSError, ValueError):
            continue
    return found


def _altered(package: Path, times: Mapping[str, float], folder: Path) -> Iterator[tuple[str, str]]:
    try:
        record = package / "RECORD"
        installed = record.stat().st_mtime + tunables.INSTALLATION_S
        young = {name for name, time in times.items() if time > installed}
        if not young:
            return
        for name, digest in _promised(record).items():
            if name in young and _digest_like(folder / name, digest) != digest:
                yield name, f"{name} was changed after {package.stem} was installed"
    except (OSError, ValueError):
        return


def _promised(record: Path) -> dict[str, str]:
    """The files of a RECORD with their digests (PEP 376)."""
    import csv

    with record.open(newline="", encoding="utf-8") as file:
        return {row[0]: row[1] for row in csv.reader(file) if len(row) > 1 and row[1]}


def _digest_like(path: Path, promised: str) -> str:
    """The digest of a file, by the algorithm of another."""
    import base64
    import hashlib

    algorithm = promised.partition("=")[0]
    digest = hashlib.new(algorithm, path.read_bytes()).digest()
    return f"{algorithm}={base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
