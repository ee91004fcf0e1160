"""The frozen code in a job: unpacked on the node, and imported from there instead of from the live tree."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from hpcorch import tunables
from hpcorch.errors import DriftError, RecordError, UnavailableError
from hpcorch.journal.manifest import SnapshotPlace
from hpcorch.model.drift import Aspect, Severity
from hpcorch.model.processes import SNAPSHOT_VARIABLE
from hpcorch.provenance.code.import_paths import Move, imported_from, module_files
from hpcorch.provenance.code.unpacking import UnpackedCode, folder_beside, remove_unused, unpack
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.context.drift import DriftLog
from hpcorch.runtime.context.output import say
from hpcorch.runtime.program.frozen_imports import FrozenFinder, enter, is_frozen, is_ours
from hpcorch.slurm.job_environment import temporary_folders

if TYPE_CHECKING:
    from types import ModuleType

# Runs before anything is unpacked, and may itself be in the project.
_OURS = Path(__file__).parents[2]
_CHILD_START = str(_OURS / "runtime" / "child_start")
_PATH = "PYTHONPATH"


@dataclass(slots=True, kw_only=True)
class Snapshot:
    """The code of a run on this node, in use until the process ends.

    :param unpacked: kept, since its lock tells others of the use
    :param reports: descriptor of the file in memory for reports of Python processes that this one starts
    """

    place: SnapshotPlace
    unpacked: UnpackedCode
    move: Move
    drift: DriftLog
    reports: int | None
    _seen: dict[str, str] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def enter(self, sys_path: Sequence[str], cwd: Path) -> FrozenFinder:
        """Let this process, and Python programs that it starts, import from the snapshot.

        :param sys_path: of the launching program
        """
        own = [entry for entry in sys.path if entry not in sys_path]
        sys.path[:] = [*sys_path, *own]
        tell_children(os.environ, self.move, self._reports_path)
        return enter(self.move, cwd, self._tell_live)

    def follow_own_children(self) -> None:
        """In a process that was forked: Python programs that it starts report to it, and not to its parent."""
        if self.reports is not None:
            os.close(self.reports)
        self.reports = _file_for_reports()
        tell_children(os.environ, self.move, self._reports_path)

    def look(self, modules: Mapping[str, ModuleType], *, late: bool) -> None:
        """Record which of these modules came from the live tree by other ways than Python's own search.

        Each is looked at once. One that is in the live tree as it was frozen, such as a ``sitecustomize``, is none.

        :param late: the task is over
        """
        files = module_files({name: one for name, one in modules.items() if not is_frozen(one)})
        fresh = {name: file for name, file in files.items() if self._seen.get(name) != file}
        self._seen |= fresh
        live = imported_from(self.move.root, fresh, kept=self.move.kept)
        for name, file in sorted(live.items()):
            frozen = self._frozen(file)
            if frozen is None or frozen != _content(Path(file)):
                self.tell(name, file, late=late)

    @property
    def _reports_path(self) -> str:
        """Where other processes of the same user open the file of the reports; empty where there is none."""
        return "" if self.reports is None else f"/proc/{os.getpid()}/fd/{self.reports}"

    def take_reports(self) -> None:
        """Record, once each, what processes that this one started have executed of the live tree. They told it."""
        if self.reports is None or not _has_content(self.reports):
            return
        from hpcorch.runtime.program.child_reports import SCRIPT, read_reports  # few jobs have any

        for one in read_reports(self.reports):
            what = f"{one.kind} {one.name}"
            if what not in self._told and one.name not in self._told:
                self._told.add(what)
                self.drift.found(
                    Aspect.CODE,
                    what,
                    before=one.frozen,
                    after=one.found,
                    severity=Severity.NOTE if one.kind == SCRIPT and one.frozen is None else Severity.MAJOR,
                    late=True,
                    sentence="",
                )

    def _frozen(self, file: str) -> bytes | None:
        """What the snapshot has of a file of the project; None if nothing."""
        return _content(Path(self.move(file, cwd=Path.cwd())))

    def _tell_live(self, name: str, file: str) -> None:
        self.tell(name, file)
        self.drift.settle()

    def tell(self, name: str, file: str, *, late: bool = False) -> None:
        """Record a module from the live tree, once."""
        if name in self._told or is_ours(name) or Path(file).is_relative_to(_OURS):
            return
        self._told.add(name)
        sentence = (
            f"the module {name} is not in the snapshot of the code and comes from the live file {file} (of what git"
            " ignores, what was imported at submission and modules of packages are frozen)"
            if self._frozen(file) is None
            else f"the module {name} comes from {file}, which was changed after submission"
        )
        self.drift.found(
            Aspect.CODE,
            f"module {name}",
            before=None,
            after=file,
            late=late or not self.place.is_whole,
            sentence=sentence,
        )


def _has_content(descriptor: int) -> bool:
    try:
        return os.fstat(descriptor).st_size > 0
    except OSError:
        return False


def _file_for_reports() -> int | None:
    try:
        return os.memfd_create("hpcorch")
    except (AttributeError, OSError):  # not on Linux
        return None


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def tell_children(environ: MutableMapping[str, str], move: Move, reports: str) -> None:
    """Have every Python process that gets these variables import from the snapshot.

    :param reports: where it reports what it executes of the live tree
    A folder on ``PYTHONPATH`` has a ``sitecustomize`` that reads the variable.
    """
    told = {"root": str(move.root), "tree": str(move.tree), "reports": reports}
    environ[SNAPSHOT_VARIABLE] = json.dumps(told)
    given = environ.get(_PATH, "")
    if _CHILD_START not in given.split(os.pathsep):
        environ[_PATH] = os.pathsep.join(filter(None, [_CHILD_START, given]))


def have_snapshot(place: SnapshotPlace, drift: DriftLog, environ: Mapping[str, str]) -> Snapshot | None:
    """Unpack the frozen code on this node; None if that is impossible and the policy allows going on without it.

    :raises DriftError: there is no sound snapshot, and the policy is to refuse
    :raises UnavailableError: it cannot be read, or there is no room for it on the node
    """
    try:
        unpacked, base = _unpacked(place, node_folders(environ))
    except (DriftError, RecordError) as error:
        drift.found(Aspect.CODE, "snapshot", before=place.digest, after=None, sentence=str(error).rstrip("."))
        drift.settle()
        return None
    for sentence in unpacked.repaired:
        drift.found(
            Aspect.CODE, "unpacked snapshot", before=place.digest, after=sentence, severity=Severity.NOTE, late=True
        )
    remove_unused(base, days=tunables.UNPACKED_KEEP_DAYS)
    move = Move.of(Path(place.root), unpacked.tree)
    return Snapshot(place=place, unpacked=unpacked, move=move, drift=drift, reports=_file_for_reports())


def node_folders(environ: Mapping[str, str]) -> list[Path]:
    """Folders of this user on the node's own disk, the preferred first."""
    return [Path(name).absolute() / f"hpcorch-{os.getuid()}" for name in temporary_folders(environ)]


def _unpacked(place: SnapshotPlace, bases: Sequence[Path]) -> tuple[UnpackedCode, Path]:
    problem: UnavailableError | None = None
    for base in bases:
        try:
            return unpack(Path(place.archive), place.digest, base), base
        except UnavailableError as error:
            problem = problem or error
    assert problem is not None
    for base, other in ((base, folder_beside(base)) for base in bases):
        if other is not None:
            with suppress(UnavailableError):
                unpacked = unpack(Path(place.archive), place.digest, other)
                say(f"{base} is not a folder of yours alone, so the code is unpacked below {other}")
                return unpacked, other
    raise problem
