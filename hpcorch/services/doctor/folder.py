"""The folder where ledger and sweeps lie: what is there, what works in it, and what that means."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from hpcorch.journal.access import make_folder
from hpcorch.journal.files import write_whole
from hpcorch.ledger.checking.trial import sqlite_problem
from hpcorch.quick_dataclasses import dataclass
from hpcorch.services.doctor.cluster import clock
from hpcorch.services.doctor.file_systems import Mount, Reach, mount_at, reach_of
from hpcorch.services.doctor.rows import Row, limited, not_ok, ok

# Room for a ledger of a hundred thousand runs, and files for the smallest sweeps.
_LEAST_BYTES = 1 << 30
_LEAST_FILES = 10_000
# As many as a launcher with its libraries, journals and logs has open, several times.
_LEAST_OPEN = 512
# A folder that a task on another host has just left may be busy for a moment.
_REMOVALS, _REMOVAL_PAUSE_S = 20, 0.25

_ELSEWHERE = "move the project to a file system that all nodes share, or set $HPCORCH_LEDGER and hydra.sweep.dir"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFacts:
    """What was found of one folder.

    :param mount: what holds it, None if that cannot be seen
    :param free_bytes: for this user, without quotas; likewise ``free_files``, None where nothing counts them
    :param writing: why files cannot be written, renamed, linked and synced there; None if they can
    :param sqlite: why SQLite cannot work there; None if it can, or was not tried
    :param ahead_s: seconds by which the file system's clock is ahead of this host's
    """

    folder: Path
    mount: Mount | None
    free_bytes: int = 0
    free_files: int | None = None
    writing: str | None = None
    sqlite: str | None = None
    ahead_s: float = 0.0


@contextmanager
def private_folder(state: Path) -> Iterator[Path]:
    """A folder of this process alone in ``state``, the project's ``.hpcorch``; it leaves no trace.

    :raises OSError: none can be made
    """
    new = [path for path in (state, *state.parents) if not path.exists()]
    make_folder(state)
    folder = Path(tempfile.mkdtemp(prefix="doctor-", dir=state))
    try:
        yield folder
    finally:
        _remove(folder)
        with suppress(OSError):  # something else is in it by now
            for path in new:
                path.rmdir()


def look_at(state: Path, trials: Path | None, error: OSError | None = None, *, ledger: bool = True) -> FolderFacts:
    """Gather the facts.

    :param state: the folder, which need not be there yet
    :param trials: a private folder in it
    :param error: why there is none
    :param ledger: the ledger is there
    """
    folder = next(path for path in (state, *state.parents) if path.exists())
    mount = mount_at(folder)
    if trials is None:
        return FolderFacts(folder=folder, mount=mount, writing=_words(error))
    space = os.statvfs(trials)
    writing = _writing_problem(trials)
    return FolderFacts(
        folder=folder,
        mount=mount,
        free_bytes=space.f_bavail * space.f_frsize,
        free_files=space.f_favail if space.f_files else None,
        writing=writing,
        sqlite=sqlite_problem(trials / "trial.db") if ledger and not writing else None,
        ahead_s=_ahead(trials),
    )


def rows_of(facts: FolderFacts, *, of_nodes: bool, tried: bool = False, of: str | None = None) -> list[Row]:
    """The rows about a folder.

    :param of_nodes: its files are for compute nodes, too
    :param tried: trial jobs say whether nodes see it
    :param of: ``ledger`` or ``sweeps``, where these are in folders of their own
    """
    rows = [_kind(facts, of_nodes=of_nodes, tried=tried)]
    if facts.writing is not None:
        cure = "check that the folder is yours, is not full (quota!) and is mounted read-write; or " + _ELSEWHERE
        rows.append(not_ok("writing", f"in {facts.folder}: {facts.writing}", cure))
    else:
        rows += [ok("writing", "files are written, synced, renamed and linked"), _space(facts)]
        rows.append(clock("file clock", "the file system", facts.ahead_s))
    named = rows if of is None else [replace(row, check=f"{row.check} of {of}") for row in rows]
    return named if facts.writing is not None or of == "sweeps" else [*named, _sqlite(facts)]


def open_files_row(check: str, where: str, limit: int | None) -> Row:
    """A row about ``ulimit -n``; None is without limit."""
    if limit is None or limit >= _LEAST_OPEN:
        return ok(check, f"a process {where} may open {'any number of' if limit is None else limit} files")
    return not_ok(
        check, f"a process {where} may open only {limit} files", "raise it with `ulimit -n 4096` in your shell"
    )


def _kind(facts: FolderFacts, *, of_nodes: bool, tried: bool) -> Row:
    name, mount = "file system", facts.mount or Mount(kind="a file system of unknown kind")
    reach = reach_of(mount.kind)
    told = f"{facts.folder} is on {mount.kind}"
    if mount.keeps_locks_to_itself:
        told += ", whose locks do not reach other hosts (hpcorch's own do)"
    if mount.is_not_looked_at_anew:
        cure = "ask for a mount without nocto, or work on one host at a time: another may see files as they were"
        return limited(name, f"{told}, mounted with nocto", cure)
    if reach is Reach.MEMORY and of_nodes:
        return not_ok(name, f"{told}, the memory of this host: nodes cannot see it", _ELSEWHERE)
    if reach is Reach.MEMORY:
        return limited(name, f"{told}: its files are lost when the host restarts", "move the project to a disk")
    if reach is Reach.SHARED or tried or not of_nodes:
        return ok(name, told)
    if reach is Reach.DISK:
        cure = f"run `hpcorch doctor --jobs` to check that nodes see it; if not, {_ELSEWHERE}"
        return limited(name, f"{told}, a disk of this host", cure)
    return limited(name, told, "run `hpcorch doctor --jobs` to check that nodes see it and that locks work")


def _space(facts: FolderFacts) -> Row:
    free = f"{facts.free_bytes / (1 << 30):.1f} GiB"
    if facts.free_files is not None:
        free += f" and {facts.free_files} files"
    cure = (
        "free some, or have your quota raised: `hpcorch gc`, compact=true (2 files a run), older sweep directories"
    )
    if facts.free_bytes < _LEAST_BYTES or (facts.free_files is not None and facts.free_files < _LEAST_FILES):
        return not_ok("space", f"there is room for {free} only", cure)
    return ok("space", f"there is room for {free} (quotas not counted)")


def _sqlite(facts: FolderFacts) -> Row:
    if facts.sqlite is None:
        return ok("ledger locks", "SQLite's locks keep a second process out while the file is locked")
    cure = (
        "set $HPCORCH_LEDGER to a file on a file system with locks (ask for a mount with `flock` or a lock service)"
    )
    return not_ok("ledger locks", facts.sqlite, cure)


def _writing_problem(trials: Path) -> str | None:
    path, second = trials / "written", trials / "second"
    try:
        for content in (b"once", b"twice"):  # the second time a file is replaced
            write_whole(path, content)
        second.hardlink_to(path)
        if second.read_bytes() != b"twice":
            return "what is read differs from what was written"
    except OSError as error:
        return _words(error)
    return None


def _ahead(trials: Path) -> float:
    path = trials / "touched"
    before = time.time()
    path.touch()
    after = time.time()
    written = path.stat().st_mtime
    return min(0.0, written - before) + max(0.0, written - after)


def _words(error: OSError | None) -> str:
    return (error.strerror or str(error)).lower() if error is not None else "it cannot be written"


def _remove(folder: Path) -> None:
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_REMOVAL_PAUSE_S)
