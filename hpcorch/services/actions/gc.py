"""Which snapshots of a project no sweep refers to, and removing them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hpcorch import tunables
from hpcorch.errors import RecordError, UsageError
from hpcorch.journal.layout import STATE_DIR, SweepLayout, snapshots_folder
from hpcorch.journal.reader import read_segment
from hpcorch.ledger import Ledger
from hpcorch.model.events import CONTROL_SOURCE, CodeFrozen
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.adoption.search import find_records

_DIGEST = re.compile(r"[0-9a-f]{64}")
_REFERRED = f"SELECT DISTINCT json_extract(body, '$.digest') FROM v_events WHERE kind = '{CodeFrozen.kind}'"  # noqa: S608
_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """What lies in a project's folder of snapshots.

    :param unused: files that no sweep refers to, older than a day -> bytes
    :param kept: snapshots that some sweep refers to, or that are younger
    :param kept_size: their bytes
    :param ledgers: all that were asked
    """

    folder: Path
    unused: dict[str, int]
    kept: int
    kept_size: int
    ledgers: Sequence[str]

    @property
    def size(self) -> int:
        """Bytes that are unused."""
        return sum(self.unused.values())

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {**asdict(self), "folder": str(self.folder), "size": self.size}


def find_garbage(ledger: Path) -> Garbage:
    """Look through the snapshots beside a ledger, all ledgers there, and the project's sweep directories.

    :raises UsageError: the ledger is not in a project's folder, and has no snapshots beside it
    :raises RecordError: a ledger or a sweep's record cannot be read, so nobody knows what it refers to
    """
    folder = snapshots_folder(ledger.parent)
    if ledger.parent.name != STATE_DIR and not folder.is_dir():
        raise UsageError(
            f"the ledger {ledger} is not in a project's {STATE_DIR} folder, and other ledgers may refer to the same"
            " snapshots: go to the project, and leave out --ledger and $HPCORCH_LEDGER"
        )
    ledgers = sorted({ledger, *_ledgers_in(ledger.parent)})
    referred = {digest for path in ledgers for digest in _referred(path)}
    if ledger.parent.name == STATE_DIR:  # a ledger that was lost, and made anew, may not have them yet
        referred.update(_referred_below(ledger.parent.parent, ledger))
    young = time.time() - tunables.UNRECORDED_SNAPSHOT_S
    unused: dict[str, int] = {}
    kept = kept_size = 0
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        status = path.lstat()
        if path.name not in referred and status.st_mtime < young and _is_ours(path):
            unused[path.name] = status.st_size
        else:
            kept, kept_size = kept + 1, kept_size + status.st_size
    return Garbage(folder=folder, unused=unused, kept=kept, kept_size=kept_size, ledgers=list(map(str, ledgers)))


def _is_ours(path: Path) -> bool:
    """Whether a file is a snapshot, or one that was not finished."""
    return path.is_file() and bool(
        _DIGEST.fullmatch(path.name) or re.fullmatch(r"\.[0-9a-f]{64}\..*\.tmp", path.name)
    )


def _ledgers_in(folder: Path) -> Iterator[Path]:
    for path in filter(Path.is_file, folder.glob("[!.]*")):  # one that is being written has a name with a dot
        with path.open("rb") as file:
            if file.read(len(_SQLITE)) == _SQLITE:
                yield path


def _referred(path: Path) -> set[str]:
    with Ledger.unchanged(path) as ledger:
        return {row[0] for row in ledger.query(_REFERRED).rows}


def _referred_below(project: Path, ledger: Path) -> Iterator[str]:
    """What sweep directories in the project's folder refer to, whether or not the ledger has them."""
    for found in find_records(project, ledger):
        if isinstance(found, SweepLayout):
            try:
                control = read_segment(found.control, sweep="", source=CONTROL_SOURCE, offset=0)
            except OSError as error:
                raise RecordError(
                    f"{found.control} cannot be read ({error.strerror}), so nobody knows which snapshots its sweep"
                    " needs, and none is removed: put it right, or move it out of the project"
                ) from error
            yield from (event.fact.digest for event in control.events if isinstance(event.fact, CodeFrozen))


def remove_garbage(garbage: Garbage) -> None:
    """Remove what nobody refers to, unless a launch has used it since.

    :raises OSError: something cannot be removed
    """
    young = time.time() - tunables.UNRECORDED_SNAPSHOT_S
    for name in garbage.unused:
        path = garbage.folder / name
        with suppress(FileNotFoundError):  # another process removed it
            if path.lstat().st_mtime < young:
                path.unlink()
