"""What other programs use: :class:`hpcorch.Ledger`, and the records that it answers with.

Names and fields here stay: others may be added, and none is removed or changes its meaning within a major version.
"""

from __future__ import annotations

from hpcorch.api.ledger import Ledger
from hpcorch.api.records import (
    AttemptRecord,
    CheckpointRecord,
    EventRecord,
    MetricRecord,
    RunRecord,
    SweepRecord,
)

__all__ = [
    "AttemptRecord",
    "CheckpointRecord",
    "EventRecord",
    "Ledger",
    "MetricRecord",
    "RunRecord",
    "SweepRecord",
]
