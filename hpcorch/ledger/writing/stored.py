"""What the parts of the ledger pass to each other: sweeps by key, events by position."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple, TypeVar

from hpcorch.model.events import Event
from hpcorch.model.ids import AttemptId
from hpcorch.quick_dataclasses import dataclass

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepKey:
    """A sweep under its id, and under the short key that rows have."""

    id: str
    key: int


class RunSpan(NamedTuple):
    """The runs of a sweep with an index above the first number, through the second."""

    above: int
    through: int


# Whatever SQLite can hold, so that a row that nobody should have written is covered too.
EVERY_RUN = RunSpan(-(1 << 63), (1 << 63) - 1)


class StoredEvent(NamedTuple):  # made for every event, four times as fast as a dataclass
    """An event, where it is stored, and which run and attempt it is about."""

    seq: int
    run: int | None
    attempt: AttemptId | None
    event: Event


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the cyclic garbage collector from walking a million live events again and again; they form no cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def sliced(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Items in lists of at most ``size``."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
