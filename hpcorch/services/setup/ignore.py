"""The lines of a ``.gitignore`` that keep out what hpcorch and Hydra write; the site profile belongs in git."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

from hpcorch.journal.files import write_whole
from hpcorch.journal.layout import SITE_NAME, STATE_DIR
from hpcorch.journal.project_search import around

LINES = (f"{STATE_DIR}/*", f"!{STATE_DIR}/{SITE_NAME}", "multirun/", "outputs/", "slurm-*.out")
_HEAD = "# What hpcorch and Hydra write. The site profile belongs in git."
_NEW_MODE = 0o644


def is_checkout(project: Path) -> bool:
    """Whether the folder is in a git checkout."""
    return any((folder / ".git").exists() for folder in around(project))


def missing_lines(text: str) -> list[str]:
    """Those of :data:`LINES` that a ``.gitignore`` lacks, in any spelling that means the same."""
    there = {_core(line) for line in text.splitlines()}
    missing = [line for line in LINES if _core(line) not in there]
    # Whoever ignores the whole folder wants the profile ignored, too.
    return [line for line in missing if not (line.startswith("!") and LINES[0] not in missing)]


def add_lines(path: Path) -> list[str]:
    """Append what is missing to a ``.gitignore``, making it if need be; what was appended."""
    try:
        old = path.read_bytes()
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        old, mode = b"", _NEW_MODE
    missing = missing_lines(old.decode("utf-8", "surrogateescape"))
    if missing:
        write_whole(path.resolve(), old + _appended(old, missing), mode=mode)
    return missing


def _appended(old: bytes, lines: Iterable[str]) -> bytes:
    end = "\r\n" if b"\r\n" in old else "\n"
    gap = ("" if old.endswith(b"\n") else end) + end if old else ""
    return (gap + end.join([_HEAD, *lines, ""])).encode()


def _core(line: str) -> str:
    """A pattern without what makes no difference here: a place at the root, a mark that it is a folder."""
    text = line.strip()
    negated = text.startswith("!")
    return ("!" if negated else "") + text.lstrip("!").removeprefix("**/").lstrip("/").removesuffix("/*").rstrip(
        "/"
    )
