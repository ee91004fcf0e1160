"""What a task saves and gets back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpcorch.quick_dataclasses import dataclass

# One to go on from, and one before it, should the newer one be broken.
KEEP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint that was restored.

    :param step: the step at which it was saved
    :param state: the state that was saved
    :param files: the directory that :meth:`Run.save_files` filled; do not write to it
    """

    step: int
    state: Any
    files: Path | None = None


def made(state: Any) -> Any:
    """A state, or what a function gives. (A module of PyTorch can be called, too, and is a state.)"""
    from types import FunctionType, MethodType

    return state() if isinstance(state, (FunctionType, MethodType)) else state
