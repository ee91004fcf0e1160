"""What kind of file system a path is on, and which hosts see such a one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from hpcorch.quick_dataclasses import dataclass


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """What holds a path.

    :param kind: the type of the file system, such as ``nfs4``
    :param options: it is mounted with these
    """

    kind: str
    options: frozenset[str] = frozenset()

    @property
    def is_not_looked_at_anew(self) -> bool:
        """Whether a host that opens a file may not see what another host has written and closed (nfs(5), nocto)."""
        return "nocto" in self.options

    @property
    def keeps_locks_to_itself(self) -> bool:
        """Whether the kernel's locks end at this host (nfs(5), local_lock; FUSE without locks of its own)."""
        local = {"nolock", "local_lock=all", "local_lock=posix", "local_lock=flock", "localflock"}
        return bool(self.options & local) or self.kind.startswith("fuse.sshfs")


def mount_at(path: Path) -> Mount | None:
    """What holds a path; None if that cannot be seen."""
    import psutil

    try:
        mounts = {
            Path(part.mountpoint): Mount(kind=part.fstype, options=frozenset(part.opts.split(",")))
            for part in psutil.disk_partitions(all=True)
        }
    except OSError:
        return None
    return mount_among(mounts, path.resolve())


def mount_among(mounts: Mapping[Path, Mount], path: Path) -> Mount | None:
    """The innermost mount that a path is below.

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
