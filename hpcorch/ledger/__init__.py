"""The ledger: an SQLite file that archives every event in a hash chain, and tables folded from it.

Written on the login side only, by one process at a time; compute nodes never open it.
"""

from __future__ import annotations

from hpcorch.errors import NotFoundError, RecordError, UnavailableError
from hpcorch.ledger.reading.answers import Head, SweepSummary
from hpcorch.ledger.reading.directories import find_own_record, find_record, readable_record
from hpcorch.ledger.reading.reading import LAST
from hpcorch.ledger.reading.sandbox import QueryResult
from hpcorch.ledger.store import Ledger
from hpcorch.ledger.writing.expansion import Manifests, manifests_in
from hpcorch.ledger.writing.ingest import IngestResult

# What is raised where a ledger is not there, is none any more, or does not answer.
TROUBLES = (NotFoundError, RecordError, UnavailableError)

__all__ = [
    "LAST",
    "TROUBLES",
    "Head",
    "IngestResult",
    "Ledger",
    "Manifests",
    "QueryResult",
    "SweepSummary",
    "find_own_record",
    "find_record",
    "manifests_in",
    "readable_record",
]
