"""From a batch's manifest to the events of its bases and runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from hpcorch.errors import RecordError, UnavailableError
from hpcorch.journal.manifest import ManifestRun, read_all
from hpcorch.model.events import BasePlanned, BatchPlanned, Event, Fact, RunPlanned

# How ingestion gets at what a batch froze.
Manifests = Callable[[BatchPlanned], Iterable[Fact]]

_BLOCK = 1 << 20


def manifests_in(directory: Path) -> Manifests:
    """Reads manifests from a sweep directory, each verified against the digest in the control journal.

    What it returns raises RecordError for a manifest that is damaged or another than was planned, and
    UnavailableError for one that cannot be read (on a network file system it may show up later).
    """

    def read(batch: BatchPlanned) -> Iterator[Fact]:
        path = directory / batch.manifest
        try:
            found = _digest(path)
            if found != batch.manifest_digest:
                raise RecordError(
                    f"the manifest {path} is not the one that was planned (its digest is {found}, planned was"
                    f" {batch.manifest_digest}): restore it from a backup; its runs cannot be recorded without it"
                )
            _, bases, runs = read_all(path)
        except OSError as error:
            raise UnavailableError(
                f"the manifest {path} cannot be read ({error.strerror}): if the file system is slow to show it,"
                " try again"
            ) from error
        yield from (BasePlanned(base=number, config=bases[number].config) for number in sorted(bases))
        yield from map(_planned, runs)

    return read


def source_of(batch: BatchPlanned) -> str:
    """The source that a batch's own events have."""
    return f"batch-{batch.batch}"


def batch_of(source: str) -> int:
    """The batch whose events a source holds; the reverse of :func:`source_of`."""
    return int(source.removeprefix("batch-"))


def expand(batch: Event, facts: Iterable[Fact]) -> Iterator[Event]:
    """A batch's facts as events: numbered from 0, at the time at which the batch was planned."""
    assert isinstance(batch.fact, BatchPlanned)
    source = source_of(batch.fact)
    for seq, fact in enumerate(facts):
        yield Event(sweep=batch.sweep, source=source, seq=seq, time=batch.time, fact=fact)


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
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            content.update(block)
    return f"sha256:{content.hexdigest()}"
