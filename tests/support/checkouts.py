"""Folders of files and git checkouts for tests of what is code."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hpcorch.provenance.code.code_state import Sources

_NOBODY = 65534


def call_git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True)


def write(root: Path, files: Mapping[str, str]) -> None:
    """Write files below a folder."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def committed(root: Path, files: Mapping[str, str]) -> Path:
    """Write files, and commit all that is in the folder."""
    write(root, files)
    call_git(root, "init", "-q", "-b", "main")
    call_git(root, "add", "-A")
    call_git(root, "commit", "-q", "-m", "first", "--allow-empty")
    return root


def names(sources: Sources) -> list[str]:
    return [source.path for source in sources.files]


def reasons(sources: Sources) -> dict[str, str]:
    return {left.path: left.reason for left in sources.left}


@contextmanager
def as_an_ordinary_user(*folders: Path) -> Iterator[None]:
    """While the block runs, modes stop this process as they stop everybody but root.

    :param folders: that the user is to own, with all that is in them
    """
    if os.geteuid() != 0:
        yield
        return
    for folder in folders:
        for inner, _, files in os.walk(folder):
            for path in (Path(inner), *(Path(inner, name) for name in files)):
                os.chown(path, _NOBODY, -1, follow_symlinks=False)
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
