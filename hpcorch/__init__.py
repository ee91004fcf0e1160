"""Hydra sweeps as Slurm job arrays, and the ledger of what ran."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcorch import api as api
    from hpcorch import errors as errors
    from hpcorch.api.ledger import Ledger as Ledger
    from hpcorch.api.submit import submit as submit
    from hpcorch.launcher.collect import collect as collect
    from hpcorch.runtime.context.signals import Stopped as Stopped
    from hpcorch.runtime.run.checkpoint import Checkpoint as Checkpoint
    from hpcorch.runtime.run.run import Run as Run
    from hpcorch.runtime.run.run import current_run as current_run

_HOMES = {
    "Checkpoint": "hpcorch.runtime.run.checkpoint",
    "Ledger": "hpcorch.api.ledger",
    "Run": "hpcorch.runtime.run.run",
    "Stopped": "hpcorch.runtime.context.signals",
    "collect": "hpcorch.launcher.collect",
    "current_run": "hpcorch.runtime.run.run",
    "submit": "hpcorch.api.submit",
}
_MODULES = frozenset({"api", "errors"})
__all__ = ["Checkpoint", "Ledger", "Run", "Stopped", "api", "collect", "current_run", "errors", "submit"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is used: the command line and the nodes start without them."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """For completion in notebooks, which looks before anything is loaded."""
    return sorted({*globals(), *__all__})
