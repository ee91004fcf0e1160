"""The programs of hpcorch that other processes start: each is the module that ``python -m`` is given.

Batch scripts and command lines hold these names. A test sees that each can be started.
"""

from __future__ import annotations

RUNTIME = "hpcorch.runtime"
"""Executes one run: the batch scripts of sweeps and the local pool start it."""

KEEPER = "hpcorch.services.tending.keeper"
"""Looks after a sweep when an array is over: the batch scripts of keepers start it."""

REBALANCE = "hpcorch.services.throttling.rebalance"
"""Shares throttled resources among a user's arrays: their tasks start it."""

NODE_TRIAL = "hpcorch.services.doctor.trial"
"""Looks around on a node: the trial jobs of ``hpcorch doctor --jobs`` start it."""
