"""The environment that a run executes in, as far as its result may depend on it: in full, and as a cheap digest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Any

from hpcorch import tunables
from hpcorch.provenance.environment.packages import listing, package_folders, packages
from hpcorch.provenance.secrets import secret_variable
from hpcorch.quick_dataclasses import dataclass

_PREFIXES = (
    *("OMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "BLIS_", "KMP_", "GOMP_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_"),
    *("NCCL_", "HIP_", "ROCR_", "TORCH_", "PYTORCH_", "TF_", "XLA_", "JAX_", "PYTHON", "HYDRA_", "HPCORCH_"),
    *("SLURM_", "UCX_", "OMPI_", "I_MPI_", "PMI_", "PMIX_", "LC_", "CONDA_", "VIRTUAL_ENV", "LD_"),
)
_NAMES = frozenset({"PATH", "LANG", "TZ", "TMPDIR", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX"})
_CPU_INFO, _NVIDIA = Path("/proc/cpuinfo"), Path("/proc/driver/nvidia/version")

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Facts by section and name, as text.

    :param packages: version and digest of what is installed
        (:func:`hpcorch.provenance.environment.packages.packages`)
    :param modules: environment modules (Lmod, Tcl), each with its file
    :param gpus: the devices that this process may use, and ``driver``
    :param variables: those that change what programs do, without secrets
    """

    interpreter: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, str] = field(default_factory=dict)
    slurm: Mapping[str, str] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)
    container: Mapping[str, str] = field(default_factory=dict)
    gpus: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    def as_plain(self) -> dict[str, dict[str, str]]:
        """As JSON has it."""
        return {name: dict(section) for name, section in asdict(self).items()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Environment:
        """From JSON; sections of a later version are left out."""
        return cls(
            **{
                one.name: {str(name): str(value) for name, value in plain.get(one.name, {}).items()}
                for one in fields(cls)
            }
        )


def record(
    *,
    slurm_release: str | None = None,
    variables: Mapping[str, str] | None = None,
    sys_path: Sequence[str] | None = None,
) -> Environment:
    """Record everything. Takes some tenths of a second on a network file system, and seconds with GPUs.

    :param slurm_release: as Slurm's commands tell it, if known
    :param variables: environment variables; by default this process's
    :param sys_path: by default this process's
    """
    variables = os.environ if variables is None else variables
    return Environment(
        interpreter=_interpreter(),
        packages=packages(package_folders(sys.path if sys_path is None else sys_path)),
        platform=_platform(),
        slurm={} if slurm_release is None else {"release": slurm_release},
        modules=_modules(variables),
        container=container(variables),
        gpus=_gpus(),
        variables=selected_variables(variables),
    )


def selected_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that are recorded: known to matter, and not a secret by their name or value."""
    chosen = ((name, value) for name, value in variables.items() if name.startswith(_PREFIXES) or name in _NAMES)
    return dict(sorted((name, value) for name, value in chosen if not secret_variable(name, value)))


def _interpreter() -> dict[str, str]:
    return {
        "executable": sys.executable,
        "file": os.path.realpath(sys.executable),
        "implementation": platform.python_implementation(),
        "version": platform.python_version(),
        "build": " ".join(platform.python_build()),
        "compiler": platform.python_compiler(),
        "prefix": sys.prefix,
        "base prefix": sys.base_prefix,
    }


def _platform() -> dict[str, str]:
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "cpu": _cpu_model(),
        "distribution": _distribution(),
    }


def _cpu_model() -> str:
    try:
        with _CPU_INFO.open(encoding="utf-8", errors="replace") as file:
            lines = [next(file, "") for _ in range(40)]
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def _modules(variables: Mapping[str, str]) -> dict[str, str]:
    names = [name for name in variables.get("LOADEDMODULES", "").split(":") if name]
    files = [name for name in variables.get("_LMFILES_", "").split(":") if name]
    return dict(zip(names, files if len(files) == len(names) else [""] * len(names), strict=True))


def _gpus() -> dict[str, str]:
    """The driver, and each device by its number. Asked for only where the driver is loaded or the command is."""
    found = {}
    with contextlib.suppress(OSError, IndexError):
        found["driver file"] = _NVIDIA.read_text().splitlines()[0]
    if not any(os.access(Path(folder, "nvidia-smi"), os.X_OK) for folder in os.get_exec_path()):
        return found
    from hpcorch.process import CommandMissingError, CommandTimeoutError, run  # not where there are no GPUs

    query = "--query-gpu=index,uuid,name,memory.total,driver_version,vbios_version"
    try:
        done = run(["nvidia-smi", query, "--format=csv,noheader"], timeout_s=tunables.GPU_TIMEOUT_S)
    except CommandMissingError:
        return found
    except CommandTimeoutError:
        return {**found, "problem": f"nvidia-smi did not answer within {tunables.GPU_TIMEOUT_S:g} s"}
    return {**found, **parse_gpus(done.stdout)} if done.returncode == 0 else found


def parse_gpus(output: str) -> dict[str, str]:
    """The answer of nvidia-smi to ``index,uuid,name,memory.total,driver_version,vbios_version`` as CSV."""
    found: dict[str, str] = {}
    for line in output.splitlines():
        words = [word.strip() for word in line.split(",")]
        if len(words) == 6:
            number, uuid, name, memory, driver, bios = words
            found |= {
                "driver": driver,
                f"model {number}": f"{name}, {memory}",
                f"device {number}": f"{uuid}, {bios}",
            }
    return found


def fingerprint(variables: Mapping[str, str] | None = None, sys_path: Sequence[str] | None = None) -> str:
    """Digest of the interpreter, the listings of installed packages, loaded modules and the container image.

    While it is equal, nothing that is recorded has been installed, removed or loaded.
    It reads a few directories and no package; the node's hardware has no part in it.

    :param variables: environment variables; by default this process's
    :param sys_path: by default this process's
    """
    variables = os.environ if variables is None else variables
    folders = package_folders(sys.path if sys_path is None else sys_path)
    seen = {
        "interpreter": [os.path.realpath(sys.executable), sys.version, sys.prefix, _changed(Path(sys.executable))],
        "packages": {str(folder): listing(folder) for folder in folders},
        "modules": variables.get("LOADEDMODULES", ""),
        "module files": variables.get("_LMFILES_", ""),
        "container": container(variables),
    }
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


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
