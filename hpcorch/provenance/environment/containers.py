"""The container image that a process runs in, as Apptainer, Singularity, Enroot and Pyxis tell."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

# Variables that name the image; others of the same programs hold bind paths and prompts.
_IMAGES = (
    *("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "APPTAINER_NAME", "SINGULARITY_NAME"),
    *("SLURM_CONTAINER", "SLURM_CONTAINER_ID", "SLURM_SPANK__SLURM_SPANK_OPTION_pyxis_container_image"),
    *("PYXIS_CONTAINER_IMAGE", "ENROOT_IMAGE", "ENROOT_ROOTFS", "CONTAINER_IMAGE", "CONTAINER_DIGEST"),
)
_LABELS = Path("/.singularity.d/labels.json")
_CGROUP = Path("/proc/self/cgroup")
_KINDS = re.compile(r"docker|containerd|kubepods|libpod|enroot|apptainer|singularity", re.IGNORECASE)
_MARKS = {"/.dockerenv": "docker", "/run/.containerenv": "podman"}


def container(variables: Mapping[str, str]) -> dict[str, str]:
    """What is known of the image without reading it: name, size, time and labels; empty outside a container."""
    found = {name: variables[name] for name in _IMAGES if variables.get(name)}
    image = next((path for path in found.values() if path.startswith("/") and Path(path).is_file()), None)
    if image is not None:
        status = Path(image).stat()
        found["image file"] = f"{os.path.realpath(image)} {status.st_size} bytes, modified {status.st_mtime_ns} ns"
    labels = _read(_LABELS)
    if labels:
        found["labels"] = "sha256:" + hashlib.sha256(labels).hexdigest()
    kind = _KINDS.search(_read(_CGROUP).decode(errors="replace"))
    marked = next((name for path, name in _MARKS.items() if Path(path).exists()), None)
    if kind or marked:
        found["kind"] = kind.group().lower() if kind else str(marked)
    return found


def image_file(variables: Mapping[str, str]) -> Path | None:
    """The image's file, if it is one that can be seen from inside: its digest is an input like others."""
    named = (variables.get(name, "") for name in _IMAGES)
    return next((Path(path) for path in named if path.startswith("/") and Path(path).is_file()), None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
