"""Hydra sweeps as Slurm job arrays, and the ledger of what ran."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcorch.launcher.collect import collect as collect
    from hpcorch.runtime.run import Checkpoint as Checkpoint
    from hpcorch.runtime.run import Run as Run
    from hpcorch.runtime.run import current_run as current_run
    from hpcorch.runtime.signals import Stopped as Stopped

_HOMES = {
    "Checkpoint": "hpcorch.runtime.run",
    "Run": "hpcorch.runtime.run",
    "Stopped": "hpcorch.runtime.signals",
    "collect": "hpcorch.launcher.collect",
    "current_run": "hpcorch.runtime.run",
}
__all__ = ["Checkpoint", "Run", "Stopped", "collect", "current_run"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is used: the command line and the nodes start without them."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
