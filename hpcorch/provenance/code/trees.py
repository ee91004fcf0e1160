"""Unpacked code states: are all files as frozen, and nothing beside them?"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from hpcorch.errors import RecordError
from hpcorch.journal.access import make_folder
from hpcorch.journal.snapshots import (
    Entry,
    Kind,
    decode_listing,
    listing_digest,
    place,
    printable,
    to_bytes,
    to_text,
)
from hpcorch.provenance.code.signature import files


def write_entry(tree: Path, entry: Entry, content: bytes) -> None:
    """Write one file of a code state, read-only.

    :param tree: a folder that this process has made and nobody else knows of
    """
    path = place(tree, entry.path)
    make_folder(path.parent)
    if entry.kind is Kind.LINK:
        path.symlink_to(os.fsdecode(to_bytes(entry.target or "")))
        return
    mode = 0o500 if entry.kind is Kind.EXECUTABLE else 0o400
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as file:
        file.write(content)


def close_folders(tree: Path) -> None:
    """Make the folders of a code state read-only."""
    for folder, _, _ in os.walk(tree, topdown=False):
        Path(folder).chmod(0o500)


def remove_tree(folder: Path) -> None:
    """Remove a folder and its content, read-only or not. It is not an error if something stays."""
    for inner, _, _ in os.walk(folder):
        try:
            Path(inner).chmod(0o700)
        except OSError:
            continue
    shutil.rmtree(folder, ignore_errors=True)


def read_listing(path: Path, digest: str) -> tuple[Entry, ...]:
    """The listing beside an unpacked code state, which its digest proves.

    :raises RecordError: it is another
    :raises OSError: it cannot be read
    """
    content = path.read_bytes()
    if listing_digest(content) != digest:
        raise RecordError(f"{path} is not the listing of the snapshot {digest}")
    return decode_listing(content)


def differences(tree: Path, entries: Sequence[Entry]) -> list[str]:
    """What differs from the code state, each as a sentence; every file is read."""
    found = [sentence for entry in entries if (sentence := _difference(tree, entry)) is not None]
    return [*found, *_additions(tree, entries)]


def _difference(tree: Path, entry: Entry) -> str | None:
    name, path = printable(entry.path), place(tree, entry.path)
    try:
        mode = path.lstat().st_mode
        if entry.kind is Kind.LINK:
            target = to_text(os.fsencode(path.readlink())) if stat.S_ISLNK(mode) else None
            return None if target == entry.target else f"{name} is not the link that was frozen"
        if not stat.S_ISREG(mode):
            return f"{name} is no longer a regular file"
        content = path.read_bytes()
    except FileNotFoundError:
        return f"{name} is gone"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.digest:
        return f"{name} was {entry.digest} and is {digest}"
    if bool(mode & stat.S_IXUSR) != (entry.kind is Kind.EXECUTABLE):
        return f"{name} was {'' if entry.kind is Kind.EXECUTABLE else 'not '}executable, and that was changed"
    return None


def _additions(tree: Path, entries: Sequence[Entry]) -> list[str]:
    known = {entry.path for entry in entries}
    return [f"{printable(path)} was not frozen" for path in map(to_text, files(tree)) if path not in known]
