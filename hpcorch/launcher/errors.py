"""Errors as Hydra shows them: one sentence and exit code 1, no traceback.

Hydra prints a ``CompactHydraException`` by its text alone, unless HYDRA_FULL_ERROR=1 is set.
"""

from __future__ import annotations

from hydra.errors import CompactHydraException

from hpcorch.errors import TaskFailedError


class LaunchError(CompactHydraException):
    """A launch that could not be made or followed; the cause is one of :mod:`hpcorch.errors`."""


class RunFailedError(TaskFailedError, CompactHydraException):
    """A failed run, as its ``JobReturn.return_value`` raises it; the cause is the task's own exception."""
