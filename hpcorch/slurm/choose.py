"""Choosing the client for the cluster of this process's environment."""

from __future__ import annotations

from importlib.util import find_spec

from hpcorch.slurm.client import CliClient
from hpcorch.slurm.protocol import SlurmClient


def slurm_client() -> SlurmClient:
    """The client that every command and the launcher use. Cheap: nothing is asked or imported yet.

    Where pyslurm is installed it is one that goes over to it if that suits the cluster and is worth it
    (:class:`hpcorch.slurm.pyslurm.client.PyslurmClient`); otherwise one by Slurm's commands alone.
    """
    if not _has_pyslurm():
        return CliClient()
    from hpcorch.slurm.pyslurm.client import PyslurmClient

    return PyslurmClient()


def pyslurm_state(running: str) -> str | None:
    """A sentence about the installed pyslurm, for people; ``None`` if there is none.

    It is neither imported nor tried.

    :param running: the controller's version
    """
    if not _has_pyslurm():
        return None
    from hpcorch.slurm.pyslurm import library

    try:
        version = library.check(running)
    except library.PassedOverError as reason:
        return f"pyslurm is installed but not used: {reason}. Slurm's commands are used instead."
    return f"pyslurm {version} suits this Slurm: commands that wait ask the queue through it."


def _has_pyslurm() -> bool:
    """Whether a module of that name is installed. It is not imported."""
    return find_spec("pyslurm") is not None
