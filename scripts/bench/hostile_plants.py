"""What an attacker puts where a file of the victim's should be. Used by hostile_kinds.py."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from hostile_stage import ATTACKER, Stage

SPARSE_BYTES = 6 << 30  # more than a command of the victim's may hold in memory


def plant(stage: Stage, path: Path, form: str) -> None:
    """Put one of PLANTS in the place of a file; it is the attacker's."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    PLANTS[form](stage, path)
    stage.give(path)


def _fifo(_stage: Stage, path: Path) -> None:
    os.mkfifo(path, 0o666)


def _device(_stage: Stage, path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # endless zeros
    except PermissionError:  # a container
        path.symlink_to("/dev/zero")


def _socket(_stage: Stage, path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"/proc/self/fd/{folder}/{path.name}")  # a path of a socket must be short
    os.close(folder)


def _link_out(stage: Stage, path: Path) -> None:
    path.symlink_to(stage.secret)


def _dangling_link(stage: Stage, path: Path) -> None:
    path.symlink_to(stage.home(ATTACKER) / "not-there")


def _chain(_stage: Stage, path: Path) -> None:
    """d/l -> .., so that a path through it never ends."""
    link = path.parent / "l"
    link.unlink(missing_ok=True)
    link.symlink_to("..")
    path.symlink_to(Path(*["l", path.parent.name] * 15, path.name))


def _folder(_stage: Stage, path: Path) -> None:
    path.mkdir()


def _sparse(_stage: Stage, path: Path) -> None:
    path.touch()
    os.truncate(path, SPARSE_BYTES)


def _rubbish(_stage: Stage, path: Path) -> None:
    path.write_bytes(os.urandom(5000))


def _brackets(_stage: Stage, path: Path) -> None:
    path.write_text("[" * 200_000)


PLANTS: Mapping[str, Callable[[Stage, Path], None]] = {
    "fifo": _fifo,
    "device": _device,
    "socket": _socket,
    "link-out": _link_out,
    "dangling-link": _dangling_link,
    "chain": _chain,
    "folder": _folder,
    "sparse": _sparse,
    "rubbish": _rubbish,
    "brackets": _brackets,
}
