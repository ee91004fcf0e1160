"""Writing files that are either whole or absent after any crash, and that survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path

from hpcorch.journal.layout import FILE_MODE


def sync_directory(folder: Path) -> None:
    """Make names created in a folder durable (POSIX asks for an fsync of the folder itself)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes, *, mode: int = FILE_MODE) -> None:
    """Write a file that readers see either whole or not at all: temporary name, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write all bytes, going on after short writes."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
