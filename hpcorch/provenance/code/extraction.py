"""Writing a code state to a node's disk, comparing it, and removing it; all under its lock.

:mod:`hpcorch.provenance.code.unpacking` has the places and the locks.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from hpcorch.errors import RecordError
from hpcorch.journal.access import make_folder
from hpcorch.journal.archives import open_archive
from hpcorch.journal.files import write_whole
from hpcorch.provenance.code.signature import signature
from hpcorch.provenance.code.trees import close_folders, differences, read_listing, remove_tree, write_entry


def extract(archive: Path, digest: str, base: Path) -> tuple[str, ...]:
    """Unpack a code state that is missing or whose signature does not fit.

    :return: what an earlier unpacking of it had come to differ in, before it was unpacked again
    :raises DriftError: the archive is not what was frozen, and in what
    :raises RecordError: there is no archive
    :raises UnavailableError: the archive cannot be read
    :raises OSError: nothing can be written here
    """
    home = base / digest
    found = verify(base, digest) if home.exists() else []
    if home.exists() and not found:  # touched or from before a reboot, and yet as frozen
        _sign(home)
        return ()
    _clear(base, digest)
    fresh = base / f".{digest}.{os.urandom(4).hex()}"
    try:
        _write(archive, digest, fresh)
        _put(fresh, home, base)
    finally:
        remove_tree(fresh)
    return tuple(found)


def verify(base: Path, digest: str) -> list[str]:
    """What an unpacked code state differs in from what was frozen, each as a sentence; every file is read."""
    home = base / digest
    try:
        return differences(home / "tree", read_listing(home / "listing", digest))
    except (OSError, RecordError) as error:
        return [f"its listing cannot be used ({error})"]


def remove(base: Path, digest: str) -> None:
    """Remove a code state, and unfinished unpackings of it."""
    _clear(base, digest)
    remove_tree(base / digest)


def _write(archive: Path, digest: str, fresh: Path) -> None:
    reader = open_archive(archive, digest)
    tree = fresh / "tree"
    make_folder(tree, exist_ok=False)
    for entry, content in reader.contents():
        write_entry(tree, entry, content)
    close_folders(tree)
    write_whole(fresh / "listing", reader.listing)
    _sign(fresh)


def _sign(home: Path) -> None:
    write_whole(home / "signature", json.dumps(signature(home / "tree")).encode())


def _put(fresh: Path, home: Path, base: Path) -> None:
    """Give an unpacked code state its name; one that is there already goes, what it has open stays open."""
    if home.exists():
        home.rename(base / f"{fresh.name}.old")
    fresh.rename(home)
    remove_tree(base / f"{fresh.name}.old")


def _clear(base: Path, digest: str) -> None:
    """Remove what others began and did not finish: they are dead, for the lock is ours."""
    for left in base.glob(f".{digest}.*"):
        remove_tree(left)
