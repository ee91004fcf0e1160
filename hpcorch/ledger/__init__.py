"""The ledger: an SQLite file that archives every event in a hash chain, and tables folded from it.

Written on the login side only, by one process at a time; compute nodes never open it.
"""

from __future__ import annotations

from hpcorch.ledger.answers import Head, SourceState, SweepSummary
from hpcorch.ledger.check import Finding, FindingKind
from hpcorch.ledger.expansion import Manifests, manifests_in
from hpcorch.ledger.ingest import Ingested
from hpcorch.ledger.reading import LAST
from hpcorch.ledger.sandbox import QueryResult
from hpcorch.ledger.store import Ledger

__all__ = [
    "LAST",
    "Finding",
    "FindingKind",
    "Head",
    "Ingested",
    "Ledger",
    "Manifests",
    "QueryResult",
    "SourceState",
    "SweepSummary",
    "manifests_in",
]
