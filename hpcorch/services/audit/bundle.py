"""Everything that a reviewer needs for one run or sweep, in a directory that proves itself without the ledger.

::

    <directory>/
        report.md               what ran and what was found, for people
        audit.json              the same for programs
        bundle.json             what this is, and the anchor of the ledger that it was taken from
        configuration/<run>.yaml
        snapshots/<digest>      the code
        sweep/.hpcorch/         the sweep's own record, as it was written: journals, manifests, checkpoints, results
        .hpcorch/ledger.db      a ledger made from that record alone
        SHA256SUMS              of all the above; `sha256sum -c SHA256SUMS` compares them

The ledger is made anew from the copied journals, and not cut out of the original: a part of a chain proves nothing
without the rest, which is other people's sweeps. The journals are what events come from, so that the new ledger can
be compared with them event by event, and each file with its digest, as in the original. Its chain is another one;
the original's anchor is noted beside it. Left out are logs, and the environment variables of the launch.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hpcorch import tunables
from hpcorch.errors import RecordError, UnavailableError, UsageError
from hpcorch.journal.access import make_folder, open_new
from hpcorch.journal.archives import is_sound
from hpcorch.journal.files import open_regular, write_whole
from hpcorch.journal.folders import raise_error, walk
from hpcorch.journal.layout import LEDGER_NAME, STATE_DIR, SweepLayout
from hpcorch.journal.reader import read_sweep
from hpcorch.ledger import Ledger, manifests_in
from hpcorch.model.ids import format_ranges, utc_now
from hpcorch.model.value_text import to_json, to_yaml
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.checkpoint.file import digest_of
from hpcorch.services.audit.anchors import anchor_of
from hpcorch.services.audit.audit import Audit, audit
from hpcorch.services.audit.checkpoints import checkpoints_in
from hpcorch.services.audit.evidence import Checkpoints, Evidence, Place, gather, place_of
from hpcorch.services.selection.selectors import Selector, select_runs

FORMAT = "hpcorch-bundle"
VERSION = 1
SUMS = "SHA256SUMS"
ABOUT = "bundle.json"
SNAPSHOTS = "snapshots"
SWEEP = "sweep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle that was written.

    :param digest: of its list of digests, which vouches for all of it
    :param size: bytes
    """

    directory: Path
    sweep: str
    runs: tuple[int, ...]
    files: int
    size: int
    digest: str
    audit: Audit

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "directory": str(self.directory),
            "sweep": self.sweep,
            "runs": format_ranges(self.runs),
            "files": self.files,
            "size": self.size,
            "digest": self.digest,
            "findings": [finding.as_plain() for finding in self.audit.findings],
        }


def write_bundle(
    ledger: Ledger,
    selector: Selector,
    directory: Path,
    *,
    checkpoints: Checkpoints,
    report: Callable[[Audit], str],
) -> Bundle:
    """Audit a sweep or some of its runs, and write all that proves them into a new directory.

    :param report: makes the report for people
    :raises UsageError: the directory exists
    :raises UnavailableError: it cannot be written, or the record of the sweep is gone
    :raises RecordError: a file of the record is none, or a link of another user's
    """
    found = audit(ledger, [selector])
    evidence = _evidence(ledger, selector)
    sweep, runs = evidence.sweep.id, tuple(run.run for run in evidence.runs)
    about = {
        "format": FORMAT,
        "version": VERSION,
        "sweep": sweep,
        "runs": format_ranges(runs),
        "checkpoints": checkpoints.value,
        "made_at": utc_now(),
        "origin": str(anchor_of(ledger)),
    }
    try:
        _make(directory)
        _copy_record(evidence, directory, checkpoints)
        _write_configurations(ledger, evidence, directory)
        _write_json(directory / "audit.json", found.as_plain())
        write_whole(directory / "report.md", report(found).encode())
        _make_ledger(directory, sweep)
        _write_json(directory / ABOUT, about)
        files = seal(directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EINVAL, errno.EFBIG):
            raise RecordError(f"{error.filename} cannot be part of a bundle: {error.strerror}") from error
        raise UnavailableError(
            f"the bundle cannot be written to {directory} ({error.strerror}: {error.filename}): free some space"
            " there, remove the directory and try again"
        ) from error
    return Bundle(
        directory=directory,
        sweep=sweep,
        runs=runs,
        files=len(files),
        size=sum(files.values()),
        digest=digest_of(directory / SUMS),
        audit=found,
    )


def _evidence(ledger: Ledger, selector: Selector) -> Evidence:
    sweep = ledger.sweep(selector.sweep).sweep
    try:
        place = place_of(ledger, sweep)
    except RecordError as error:
        raise UnavailableError(f"{error}. Without its record nothing can be proven to others") from error
    return gather(ledger, sweep, select_runs(ledger, sweep.id, selector), place)


def _make(directory: Path) -> None:
    try:
        make_folder(directory, exist_ok=False)
    except FileExistsError:
        raise UsageError(f"{directory} exists already: name a directory that does not exist") from None


def _copy_record(evidence: Evidence, directory: Path, checkpoints: Checkpoints) -> None:
    assert evidence.place is not None
    source, target = evidence.place.layout.state, SweepLayout(directory / SWEEP).state
    for path in _record_files(evidence, evidence.place, checkpoints):
        _copy(path, target / path.relative_to(source), evidence.place.within)
    for code in {code.digest: code for code in evidence.codes.values()}.values():
        archive = evidence.place.archive(code)
        # Of another user's sweep it may be any file; what is no snapshot of that digest stays where it is.
        if archive.exists() and (evidence.place.within is None or is_sound(archive, code.digest)):
            _copy(archive, directory / SNAPSHOTS / code.digest)


def _record_files(evidence: Evidence, place: Place, checkpoints: Checkpoints) -> Iterator[Path]:
    """What is copied of a sweep's record; of runs, only those that are asked for."""
    layout = place.layout
    yield layout.control
    for pattern in ("launch-*/*", "submissions/*"):
        yield from sorted(layout.state.glob(pattern))
    for run in evidence.runs:
        for folder in (layout.journals, layout.results):
            yield from sorted(folder.glob(f"{run.run}.*"))
        kept = checkpoints_in(layout.checkpoints(run.run))
        for fact in checkpoints.chosen(evidence.checkpoints(run.run)):
            found = kept.get(place.file(fact.file))
            yield from () if found is None else (*found.parts.values(), *found.files.values())


def _copy(source: Path, target: Path, within: Path | None = None) -> None:
    """Copy a file, or a folder with the links in it as they are."""
    if not source.is_dir() or source.is_symlink():
        _copy_file(source, target, within)
        return
    for folder, folders, names in walk(source, on_error=raise_error):
        inner = target / Path(folder).relative_to(source)
        make_folder(inner)
        for path in (Path(folder, name) for name in (*folders, *names)):
            if path.is_symlink():
                (inner / path.name).symlink_to(path.readlink())
            elif path.name in names:
                _copy_file(path, inner / path.name, within)


def _copy_file(source: Path, target: Path, within: Path | None) -> None:
    make_folder(target.parent)
    with (
        open_regular(source, within=within) as file,
        os.fdopen(open_new(target, os.O_WRONLY | os.O_EXCL), "wb") as copy,
    ):
        shutil.copyfileobj(file, copy, tunables.READ_BYTES)


def _write_configurations(ledger: Ledger, evidence: Evidence, directory: Path) -> None:
    folder = directory / "configuration"
    make_folder(folder)
    for run in evidence.runs:
        (folder / f"{run.run}.yaml").write_text(to_yaml(ledger.config(run.sweep, run.run)), encoding="utf-8")


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_whole(path, to_json(value, indent=1).encode("ascii"))


def _make_ledger(directory: Path, sweep: str) -> None:
    layout = SweepLayout(directory / SWEEP)
    path = directory / STATE_DIR / LEDGER_NAME
    make_folder(layout.journals)
    with Ledger.open(path, write=True, create=True, alone=True) as ledger:
        ledger.ingest(sweep, read_sweep(layout, sweep=sweep, offsets={}), manifests_in(layout))


def seal(directory: Path) -> dict[Path, int]:
    """Write the list of digests of all files in a directory; the files with their sizes."""
    files = {path: path.stat().st_size for path in sealed_files(directory)}
    lines = (f"{digest_of(path).removeprefix('sha256:')}  {path.relative_to(directory)}\n" for path in files)
    write_whole(directory / SUMS, "".join(lines).encode("utf-8", "surrogateescape"))
    return files


def sealed_files(directory: Path) -> list[Path]:
    """The files that the list covers."""
    found = (Path(folder, name) for folder, _, names in walk(directory, on_error=raise_error) for name in names)
    return sorted(path for path in found if path.is_file() and not path.is_symlink() and path != directory / SUMS)
