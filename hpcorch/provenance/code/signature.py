"""A cheap check that an unpacked code state was not touched; every task makes it when it starts."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Written by interpreters that may write into read-only folders, as root's may; no part of the code.
_BYTECODE = b"__pycache__"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def files(tree: Path) -> dict[bytes, os.stat_result]:
    """All below a tree that is no folder, with its own status; what interpreters cache is left out."""
    return dict(_files(os.fsencode(tree), b""))


def _files(folder: bytes, prefix: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    with os.scandir(folder) as found:
        listed = sorted(found, key=lambda one: one.name)
    for one in listed:
        if not one.is_dir(follow_symlinks=False):
            yield prefix + one.name, one.stat(follow_symlinks=False)
        elif one.name != _BYTECODE:
            yield from _files(one.path, prefix + one.name + b"/")


def signature(tree: Path) -> dict[str, Any]:
    """Sizes, times and inodes of all files, and the node's boot.

    No user can set the time of a status change. A crash may lose content and keep times, hence the boot.
    """
    check = hashlib.sha256()
    for path, found in files(tree).items():
        status = (found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        check.update(b"%r %d %d %d %d %d\n" % (path, *status))
    return {"version": 1, "boot": _boot(), "files": check.hexdigest()}


def is_signed(marker: Path, tree: Path) -> bool:
    """Whether a tree is as it was when its signature was written."""
    try:
        return bool(json.loads(marker.read_bytes()) == signature(tree))
    except (OSError, ValueError):
        return False


def _boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
