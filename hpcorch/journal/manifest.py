"""The manifest of a launch: everything frozen about its runs, in one immutable file.

A thousand nodes read it at once over a network file system, so a node finds its run with three small reads,
whatever the number of runs. The file is checksummed lines of JSON (:mod:`hpcorch.journal.lines`):

1. a header line;
2. for each base a line ``{"base":n,"config":{…},"pickle":"…"}``, before the first run that uses it, and for
   each run a line ``{"run":index,…,"base_at":[offset,size]}``;
3. the index: one line of fixed width a run, ``offset size`` in decimal;
4. a trailer of fixed width that says where the index starts and how many runs there are.

The digest of the whole file is in the control journal.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import IO, Any, BinaryIO

from hpcorch import tunables
from hpcorch.errors import RecordError
from hpcorch.journal.files import open_regular, whole_lines, write_whole
from hpcorch.journal.lines import DamagedLineError, seal, unseal
from hpcorch.model.ids import parse_ranges
from hpcorch.model.states import Backend
from hpcorch.quick_dataclasses import dataclass

FORMAT = "hpcorch-manifest"
VERSION = 1
# What a run may have of its own of the header's: keys of the launcher.
_OWN = ("compact", "drift", "max_num_timeout", "requeue_while_progress")
_INDEX_WIDTH = 32  # "%020d %010d\n"
_TRAILER_WIDTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPlace:
    """Where the code of a launch is.

    :param digest: of the code state, SHA-256 in hexadecimal
    :param archive: absolute path of the snapshot
    :param root: absolute path of the folder that it stands for
    :param is_whole: whether all code in that folder belongs to it; if not, other modules from there refuse no run
    """

    digest: str
    archive: str
    root: str
    is_whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPlace:
    """Where the record of the environment at submission is.

    :param file: path relative to the sweep directory
    :param digest: of the file
    :param fingerprint: of the environment (:func:`hpcorch.provenance.environment.fingerprint.fingerprint`)
    :param apart: sections of the record that the job's own set-up changes, as it was asked to: no drift
    """

    file: str
    digest: str
    fingerprint: str
    apart: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestHeader:
    """What all runs of a launch share, unless one has its own (:meth:`of`).

    :param max_num_timeout: a run that reaches its time limit is requeued at most so often
    :param requeue_while_progress: and beyond that as long as each attempt has saved a later checkpoint
    :param signal_delay_s: seconds from the warning to the time limit
    :param kill_wait_s: seconds that a process has after SIGTERM, at least
    :param leases: resources that tasks may lease -> directory, capacity, expiry in seconds
    :param throttle_folder: where the user's throttled arrays are on record; None if no run of the launch is in one
    :param code: the snapshot that runs import from; None if there is none
    :param environment: the record that attempts are compared with; None if there is none
    :param drift: aspect (code, configuration, environment, inputs) -> refuse, warn or record
    :param indices: run indices, where they do not follow each other: "1,3,5-9"
    """

    sweep: str
    launch: int
    count: int
    backend: Backend
    job_name: str
    project: str
    cwd: str
    python: str
    task_digest: str
    compact: bool = False
    max_num_timeout: int = 0
    requeue_while_progress: bool = False
    signal_delay_s: int = 0
    kill_wait_s: int = 30
    leases: dict[str, dict[str, Any]] = field(default_factory=dict)
    throttle_folder: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    code: SnapshotPlace | None = None
    environment: RecordPlace | None = None
    drift: dict[str, str] = field(default_factory=dict)
    indices: str | None = None

    @property
    def called(self) -> str:
        """The runs, as a sentence has them."""
        if self.indices is not None:
            return f"runs {self.indices}"
        return f"runs {self.launch} to {self.launch + self.count - 1}" if self.count > 1 else f"run {self.launch}"

    def of(self, run: ManifestRun) -> ManifestHeader:
        """The header as it is for one run, whose own keys of the launcher win."""
        own = {name: run.launcher[name] for name in _OWN if name in run.launcher}
        if "resources" in run.launcher:
            counts = run.launcher["resources"]
            own["leases"] = {name: {**one, "count": counts.get(name, 1)} for name, one in self.leases.items()}
        return replace(self, **own) if own else self

    def position(self, run: int) -> int:
        """Where a run stands in the manifest.

        :raises ValueError: it is not in there
        """
        runs = range(self.launch, self.launch + self.count) if self.indices is None else parse_ranges(self.indices)
        return runs.index(run)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestBase:
    """A composed configuration that runs start from: the object for the node, the plain form for the record."""

    base: int
    config: dict[str, Any]
    pickle: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRun:
    """One run, frozen.

    :param node: what :mod:`hpcorch.runtime.program.configuration` needs to rebuild the run's configuration
    :param launcher: keys of the launcher that are this run's own
    :param key: digest of what determines the result; empty where no code was frozen
    """

    run: int
    base: int
    overrides: list[str]
    params: dict[str, Any]
    changes: dict[str, Any]
    config_digest: str
    seed: int
    seed_source: str
    directory: str
    node: dict[str, Any]
    launcher: dict[str, Any] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenRun:
    """A run with the header and the base that belong to it: all that a node needs."""

    header: ManifestHeader
    base: ManifestBase
    run: ManifestRun


def write_manifest(
    path: Path, header: ManifestHeader, bases: Sequence[ManifestBase], runs: Sequence[ManifestRun]
) -> str:
    """Write a manifest, whole or not at all, and return its digest.

    :raises OSError: it cannot be written
    """
    content = bytearray(seal({"format": FORMAT, "version": VERSION, **asdict(header)}))
    by_number = {base.base: base for base in bases}
    base_at: dict[int, tuple[int, int]] = {}
    index = bytearray()
    for run in runs:
        if run.base not in base_at:
            base_at[run.base] = _append(content, _base_record(by_number[run.base]))
        offset, size = _append(content, {**asdict(run), "base_at": base_at[run.base]})
        index += f"{offset:020d} {size:010d}\n".encode()
    trailer = f"hpcorch-index {len(content):020d} {len(runs):010d}".ljust(_TRAILER_WIDTH - 1) + "\n"
    whole = bytes(content) + bytes(index) + trailer.encode()
    write_whole(path, whole)
    return digest(whole)


def digest(content: bytes) -> str:
    """A digest as this project writes it: ``sha256:`` and 64 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _base_record(base: ManifestBase) -> dict[str, Any]:
    return {"base": base.base, "config": base.config, "pickle": base64.b64encode(base.pickle).decode("ascii")}


def _append(content: bytearray, record: dict[str, Any]) -> tuple[int, int]:
    line = seal(record)
    offset = len(content)
    content += line
    return offset, len(line)


def read_run(path: Path, index: int, *, own: bool = False) -> FrozenRun:
    """Find one run without reading the others.

    :param index: the run's index within the sweep
    :param own: the manifest has to be this user's, since the run is executed
    :raises RecordError: the manifest is damaged, does not hold the run, or is not this user's
    :raises OSError: it cannot be read
    """
    with open_regular(path, own=own) as file:
        try:
            header = _header(_line(file))
            record = unseal(_read_at(file, *_locate(file, header, index)))
            offset, size = record.pop("base_at")
            base = _base(unseal(_read_at(file, offset, size)))
        except (DamagedLineError, ValueError, KeyError, TypeError) as error:
            raise RecordError(f"the manifest {path} is damaged where run {index} should be: {error}") from error
    run = ManifestRun(**record)
    if run.run != index:
        raise RecordError(f"the manifest {path} has run {run.run} where run {index} should be")
    return FrozenRun(header=header.of(run), base=base, run=run)


def read_header(path: Path) -> ManifestHeader:
    """Read what all runs of a launch share.

    :raises RecordError: the manifest is damaged
    :raises OSError: it cannot be read
    """
    with open_regular(path) as file:
        try:
            return _header(_line(file))
        except (DamagedLineError, ValueError, KeyError, TypeError) as error:
            raise RecordError(f"the manifest {path} is damaged at its start: {error}") from error


def read_all(path: Path) -> tuple[ManifestHeader, dict[int, ManifestBase], list[ManifestRun]]:
    """Read a whole manifest.

    :raises RecordError: it is damaged
    :raises OSError: it cannot be read
    """
    bases: dict[int, ManifestBase] = {}
    runs: list[ManifestRun] = []
    with open_regular(path) as file:
        try:
            header = _header(_line(file))
            for record in _records(file, header.count):
                if "run" in record:
                    del record["base_at"]
                    runs.append(ManifestRun(**record))
                else:
                    base = _base(record)
                    bases[base.base] = base
        except (DamagedLineError, ValueError, KeyError, TypeError) as error:
            raise RecordError(f"the manifest {path} is damaged after run {len(runs)}: {error}") from error
    return header, bases, runs


def _records(file: BinaryIO, runs: int) -> Iterator[dict[str, Any]]:
    while runs:
        record = unseal(_line(file))
        runs -= "run" in record
        yield record


def _line(file: BinaryIO) -> bytes:
    return next(whole_lines(file), b"")


def _header(line: bytes) -> ManifestHeader:
    record = unseal(line)
    if record.pop("format", None) != FORMAT or record.pop("version", None) != VERSION:
        raise ValueError(f"it is not a manifest of version {VERSION}; use the hpcorch that wrote it")
    code, environment = record.pop("code", None), record.pop("environment", None)
    return ManifestHeader(
        **{**record, "backend": Backend.of(record["backend"])},
        code=SnapshotPlace(**code) if code else None,
        environment=RecordPlace(**environment) if environment else None,
    )


def _base(record: dict[str, Any]) -> ManifestBase:
    return ManifestBase(
        base=record["base"], config=record["config"], pickle=base64.b64decode(record["pickle"], validate=True)
    )


def _locate(file: IO[bytes], header: ManifestHeader, index: int) -> tuple[int, int]:
    file.seek(-_TRAILER_WIDTH, 2)
    name, start, count = file.read(_TRAILER_WIDTH).split()
    if name != b"hpcorch-index" or int(count) != header.count:
        raise ValueError("its index is not whole")
    try:
        position = header.position(index)
    except ValueError:
        raise ValueError(f"it holds {header.called}") from None
    file.seek(int(start) + position * _INDEX_WIDTH)
    offset, size = file.read(_INDEX_WIDTH).split()
    return int(offset), int(size)


def _read_at(file: IO[bytes], offset: int, size: int) -> bytes:
    if not 0 <= size <= tunables.LINE_BYTES:
        raise ValueError(f"a line of {size} bytes")
    file.seek(offset)
    return file.read(size)
