"""Whether the pyslurm that is installed can be trusted with this cluster, and its import.

pyslurm is compiled against one release of Slurm and speaks with that. Its version begins with that release: 24.11.0
is for every Slurm 24.11. Slurm's library ends the whole process where it cannot go on: 25.11.2 without a slurm.conf
does so at import. So a process of its own tries it first.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from types import ModuleType

from hpcorch import process, tunables

_TRIAL = "import sys; sys.path[:] = sys.argv[1:]; import pyslurm; pyslurm.Jobs.load()"
# With one of these the commands speak with the cluster that it names; pyslurm, with that of slurm.conf.
_OTHER_CLUSTER = ("SLURM_CLUSTERS", "SBATCH_CLUSTERS")


class PassedOverError(Exception):
    """pyslurm is not used in this process; Slurm's commands are. The message says why, as part of a sentence."""


def check(running: str) -> str:
    """The version of the pyslurm that is made for the running Slurm.

    :param running: the controller's version, such as ``24.11.5``
    :raises PassedOverError: it is for another release, or the cluster that is meant is not that of slurm.conf
    """
    version = _version()
    if version is None:
        raise PassedOverError("no installed package is called so: reinstall it with pip")
    if _release(version) != _release(running):
        raise PassedOverError(f"{version} is made for another release than the Slurm {running} that runs here")
    for name in _OTHER_CLUSTER:
        if os.environ.get(name):
            raise PassedOverError(f"{name} names a cluster, and it would ask the one of slurm.conf")
    return version


def load(running: str) -> ModuleType:
    """Import pyslurm after it was tried in a process of its own.

    :param running: the controller's version
    :raises PassedOverError: it does not suit, or does not work
    """
    check(running)
    _try_out()
    flags = sys.getdlopenflags()
    try:
        return importlib.import_module("pyslurm")
    except Exception as error:
        raise PassedOverError(f"it cannot be imported: {error}") from error
    finally:
        sys.setdlopenflags(flags)  # it would have every later extension module share its symbols with all others


def _try_out() -> None:
    try:
        done = process.run([sys.executable, "-c", _TRIAL, *sys.path], timeout_s=tunables.PYSLURM_TRIAL_TIMEOUT_S)
    except (process.CommandMissingError, process.CommandTimeoutError) as error:
        raise PassedOverError(f"a trial of it failed: {error}") from error
    if done.returncode != 0:
        *_, last = ["", *done.stderr.strip().splitlines()]
        raise PassedOverError(f"a trial of it failed: {last or f'exit code {done.returncode}'}")


def _version() -> str | None:
    from importlib import metadata

    try:
        return metadata.version("pyslurm")
    except metadata.PackageNotFoundError:
        return None


def _release(version: str) -> tuple[int, ...]:
    """``22.05.8`` and ``22.5.3`` are both of release (22, 5)."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
