"""The inputs of a run: digests of its data, compared between attempts."""

from __future__ import annotations

import os

from hpcorch.model.drift import Aspect
from hpcorch.model.events import InputRecorded
from hpcorch.provenance.digests import DigestCache
from hpcorch.provenance.inputs import digest_input
from hpcorch.runtime.context.claim import earlier_attempts, read_attempt
from hpcorch.runtime.context.drift import DriftLog
from hpcorch.runtime.context.place import Place
from hpcorch.runtime.program.snapshot import node_folders


def record_input(path: str | os.PathLike[str], place: Place, drift: DriftLog) -> str:
    """Digest an input, record it, and compare it with what the run's first attempt found there.

    :return: ``sha256:<hexadecimal>``
    :raises UsageError: it is no path
    :raises NotFoundError: there is none
    :raises UnavailableError: it cannot be read, or somebody writes to it
    :raises DriftError: it is not what it was, and the policy is to refuse
    """
    cache = DigestCache(node_folders(os.environ)[0] / "inputs.json")
    found = digest_input(path, cache)
    cache.save(only_used=False)
    digest = f"sha256:{found.digest}"
    drift.record(InputRecorded(path=found.path, form=found.kind, digest=digest, size=found.size, files=found.files))
    first = _first(found.path, place)
    if first is not None and first != digest:
        drift.found(Aspect.INPUTS, found.path, before=first, after=digest)
        drift.settle()
    return digest


def _first(path: str, place: Place) -> str | None:
    """The input's digest in the earliest attempt that recorded it."""
    for attempt in reversed(list(earlier_attempts(place.layout, place.attempt))):
        for event in read_attempt(place.layout, attempt):
            if isinstance(event.fact, InputRecorded) and event.fact.path == path:
                return event.fact.digest
    return None
