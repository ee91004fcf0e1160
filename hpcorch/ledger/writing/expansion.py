"""Values shared by the writing modules, and a launch's manifest as the events of its bases and runs."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from hpcorch import tunables
from hpcorch.errors import RecordError, UnavailableError
from hpcorch.journal.files import open_regular
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import ManifestBase, ManifestRun
from hpcorch.journal.manifest_file import read_entries
from hpcorch.model.events import BasePlanned, Event, Fact, LaunchPlanned, RunPlanned
from hpcorch.model.ids import AttemptId
from hpcorch.quick_dataclasses import dataclass

# How ingestion gets at what a launch froze.
Manifests = Callable[[LaunchPlanned], Iterable[Fact]]


def manifests_in(layout: SweepLayout) -> Manifests:
    """Reads manifests of a sweep's record, each verified against the digest in the control journal.

    What it returns raises RecordError for a manifest that is damaged or another than was planned, and
    UnavailableError for one that cannot be read (on a network file system it may show up later).
    """

    def read(launch: LaunchPlanned) -> Iterator[Fact]:
        path = layout.present(layout.directory / launch.manifest)
        try:
            found = _digest(path)
            if found != launch.manifest_digest:
                raise RecordError(
                    f"the manifest {path} is not the one that was planned (its digest is {found}, planned was"
                    f" {launch.manifest_digest}): restore it from a backup; its runs cannot be recorded without it"
                )
            for entry in read_entries(path):
                if isinstance(entry, ManifestRun):
                    yield _planned(entry)
                elif isinstance(entry, ManifestBase):
                    yield BasePlanned(base=entry.base, config=entry.config)
        except OSError as error:
            raise UnavailableError(
                f"the manifest {path} cannot be read ({error.strerror}): if the file system is slow to show it,"
                " try again"
            ) from error

    return read


def source_of(launch: LaunchPlanned) -> str:
    """The source that a launch's own events have."""
    return f"launch-{launch.first_run}"


def launch_of(source: str) -> int:
    """The launch whose events a source holds; the reverse of :func:`source_of`."""
    return int(source.removeprefix("launch-"))


def expand(launch: Event, facts: Iterable[Fact]) -> Iterator[Event]:
    """A launch's facts as events: numbered from 0, at the time at which the launch was planned."""
    assert isinstance(launch.fact, LaunchPlanned)
    source = source_of(launch.fact)
    for seq, fact in enumerate(facts):
        yield Event(sweep=launch.sweep, source=source, seq=seq, time=launch.time, fact=fact)


def _planned(run: ManifestRun) -> RunPlanned:
    return RunPlanned(
        run=run.run,
        base=run.base,
        overrides=run.overrides,
        params=run.params,
        changes=run.changes,
        config_digest=run.config_digest,
        seed=run.seed,
        seed_source=run.seed_source,
        directory=run.directory,
        launcher=run.launcher or None,
        key=run.key or None,
    )


def _digest(path: Path) -> str:
    content = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(tunables.READ_BYTES):
            content.update(block)
    return f"sha256:{content.hexdigest()}"


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


# All that SQLite can hold, so that invalid rows are covered, too.
EVERY_RUN = RunSpan(-(1 << 63), (1 << 63) - 1)


class StoredEvent(NamedTuple):  # made for every event, four times as fast as a dataclass
    """An event, where it is stored, and which run and attempt it is about."""

    seq: int
    run: int | None
    attempt: AttemptId | None
    event: Event


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the cyclic garbage collector, which would walk a million live events repeatedly, and in vain."""
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
