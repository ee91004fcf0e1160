"""Hydra sweeps as Slurm job arrays, and the ledger of what ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcorch.launcher.collect import collect as collect

__all__ = ["collect"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is used: the command line and the nodes start without them."""
    if name == "collect":
        from hpcorch.launcher.collect import collect

        return collect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
