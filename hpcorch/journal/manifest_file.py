"""The file of a manifest, written and read entry by entry: the runs of a large launch are in memory once at most.

A thousand nodes read it at once over a network file system, so a node finds its run with three small reads,
whatever the number of runs. The file is checksummed lines of JSON (:mod:`hpcorch.journal.lines`):

1. a header line;
2. for each base a line ``{"base":n,"config":{…},"pickle":"…"}``, before the first run that uses it, and for
   each run a line ``{"run":index,…,"base_at":[offset,size]}``;
3. the index: one line of fixed width a run, ``offset size`` in decimal;
4. a trailer of fixed width that says where the index starts and how many runs there are.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

from hpcorch import tunables
from hpcorch.errors import RecordError
from hpcorch.journal.files import open_regular, whole_lines, write_parts
from hpcorch.journal.lines import DamagedLineError, seal, unseal
from hpcorch.journal.manifest import (
    FORMAT,
    VERSION,
    FrozenRun,
    ManifestBase,
    ManifestHeader,
    ManifestRun,
    RecordPlace,
    SnapshotPlace,
)
from hpcorch.model.states import Backend

_INDEX_WIDTH: Final = 32  # "%020d %010d\n"
_TRAILER_WIDTH: Final = 64
_RUN_FIELDS: Final = tuple(one.name for one in fields(ManifestRun))


def write_manifest(
    path: Path, header: ManifestHeader, bases: Sequence[ManifestBase], runs: Sequence[ManifestRun]
) -> str:
    """Write a manifest, whole or not at all, and return its digest.

    :raises OSError: it cannot be written
    """
    content = hashlib.sha256()

    def parts() -> Iterator[bytes]:
        for part in _parts(header, {base.base: base for base in bases}, runs):
            content.update(part)
            yield part

    write_parts(path, parts())
    return f"sha256:{content.hexdigest()}"


def _parts(
    header: ManifestHeader, bases: Mapping[int, ManifestBase], runs: Sequence[ManifestRun]
) -> Iterator[bytes]:
    """Lines, each base before the first run that starts from it; the index; the trailer."""
    line = seal({"format": FORMAT, "version": VERSION, **asdict(header)})
    yield line
    end = len(line)
    base_at: dict[int, tuple[int, int]] = {}
    index = bytearray()
    for run in runs:
        if run.base not in base_at:
            line = seal(_base_record(bases[run.base]))
            yield line
            base_at[run.base] = end, len(line)
            end += len(line)
        line = seal({**{name: getattr(run, name) for name in _RUN_FIELDS}, "base_at": base_at[run.base]})
        yield line
        index += f"{end:020d} {len(line):010d}\n".encode()
        end += len(line)
    yield bytes(index)
    yield f"hpcorch-index {end:020d} {len(runs):010d}".ljust(_TRAILER_WIDTH - 1).encode() + b"\n"


def _base_record(base: ManifestBase) -> dict[str, Any]:
    return {"base": base.base, "config": base.config, "pickle": base64.b64encode(base.pickle).decode("ascii")}


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
    entries = read_entries(path)
    header = next(entries)
    assert isinstance(header, ManifestHeader)
    for entry in entries:
        if isinstance(entry, ManifestRun):
            runs.append(entry)
        elif isinstance(entry, ManifestBase):
            bases[entry.base] = entry
    return header, bases, runs


def read_entries(path: Path) -> Iterator[ManifestHeader | ManifestBase | ManifestRun]:
    """What a manifest has, as it stands there: the header, and each base before the first run that starts from it.

    :raises RecordError: it is damaged
    :raises OSError: it cannot be read
    """
    runs = 0
    with open_regular(path) as file:
        try:
            yield (header := _header(_line(file)))
            while runs < header.count:
                record = unseal(_line(file))
                if "run" in record:
                    del record["base_at"]
                    runs += 1
                    yield ManifestRun(**record)
                else:
                    yield _base(record)
        except (DamagedLineError, ValueError, KeyError, TypeError) as error:
            raise RecordError(f"the manifest {path} is damaged after run {runs}: {error}") from error


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
