"""What kind of file system a path is on, and which hosts see such a one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path


class Reach(Enum):
    """Who sees what is written there."""

    SHARED = "shared"  # made for many hosts
    DISK = "disk"  # a disk of this host, which others see only if it is exported to them
    MEMORY = "memory"  # this host alone, until it restarts
    UNKNOWN = "unknown"


_SHARED = frozenset(
    (
        *(
            "nfs",
            "nfs4",
            "lustre",
            "gpfs",
            "mmfs",
            "beegfs",
            "beegfs_nodev",
            "ceph",
            "glusterfs",
            "panfs",
            "wekafs",
        ),
        *("afs", "ocfs2", "gfs2", "pvfs2", "orangefs", "cifs", "smb3", "dvs", "vast", "quobyte", "juicefs"),
    )
)
_DISK = frozenset(("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "overlay", "vfat"))
_MEMORY = frozenset(("tmpfs", "ramfs", "devtmpfs", "rootfs"))


def kind_at(path: Path) -> str | None:
    """The type of the file system that holds a path, such as ``nfs4``; None if that cannot be seen."""
    import psutil

    try:
        mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    except OSError:
        return None
    return kind_among(mounts, path.resolve())


def kind_among(mounts: Mapping[Path, str], path: Path) -> str | None:
    """The type of the innermost mount that a path is below.

    :param path: absolute, without symbolic links
    """
    return next((mounts[folder] for folder in (path, *path.parents) if folder in mounts), None)


def reach_of(kind: str | None) -> Reach:
    """Who sees a file system of this type. A ``fuse.x`` counts as ``x``."""
    name = (kind or "").lower().removeprefix("fuse.").removeprefix("fuseblk.")
    if name in _SHARED:
        return Reach.SHARED
    if name in _DISK:
        return Reach.DISK
    return Reach.MEMORY if name in _MEMORY else Reach.UNKNOWN
