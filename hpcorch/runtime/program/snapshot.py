"""The frozen code in a job: unpacked on the node, and imported from there instead of from the live tree."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import field
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from hpcorch import tunables
from hpcorch.errors import DriftError, RecordError, UnavailableError
from hpcorch.journal.manifest import SnapshotPlace
from hpcorch.model.drift import Aspect, Severity
from hpcorch.provenance.code.import_paths import (
    Move,
    editable_installs,
    imported_from,
    mapped,
    module_files,
    redirect,
)
from hpcorch.provenance.code.unpacking import UnpackedCode, remove_unused, unpack
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.context.drift import DriftLog
from hpcorch.slurm.job_environment import temporary_folders

# Runs before anything is unpacked, and may itself be in the project.
_OURS = Path(__file__).parents[2]


@dataclass(slots=True, kw_only=True)
class Snapshot:
    """The code of a run on this node, in use until the process ends.

    :param unpacked: kept, since its lock tells others of the use
    """

    place: SnapshotPlace
    unpacked: UnpackedCode
    move: Move
    drift: DriftLog
    _seen: dict[str, str] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def enter(self, sys_path: Sequence[str], cwd: Path) -> None:
        """Let this process, and Python programs that it starts, import from the snapshot.

        :param sys_path: of the launching program
        """
        own = [entry for entry in sys.path if entry not in sys_path]
        sys.path[:] = mapped([*sys_path, *own], self.move, cwd=cwd)
        redirect(editable_installs(sys.meta_path, sys.modules), self.move, sys.modules)
        if given := os.environ.get("PYTHONPATH"):
            os.environ["PYTHONPATH"] = os.pathsep.join(mapped(given.split(os.pathsep), self.move, cwd=cwd))
        finder = SnapshotFinder(self, cwd)
        place = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
        sys.meta_path.insert(place, finder)

    def look(self, *, late: bool) -> None:
        """Record modules that came from the live tree by other ways than Python's own search.

        Each is looked at once.

        :param late: the task is over
        """
        fresh = {name: file for name, file in module_files(sys.modules).items() if self._seen.get(name) != file}
        self._seen |= fresh
        live = imported_from(self.move.root, fresh, kept=self.move.kept)
        for name, file in sorted(live.items()):
            self.tell(name, file, late=late)

    def tell(self, name: str, file: str, *, late: bool = False) -> None:
        """Record a module from the live tree, once."""
        if name in self._told or _is_ours(name) or Path(file).is_relative_to(_OURS):
            return
        self._told.add(name)
        self.drift.found(
            Aspect.CODE,
            f"module {name}",
            before=None,
            after=file,
            late=late,
            sentence=f"the module {name} is not in the snapshot of the code and comes from the live file {file}"
            " (what git ignores is frozen only if it was imported at submission)",
        )


class SnapshotFinder:
    """Finds modules of the project in the snapshot, whatever folders the task adds to ``sys.path``.

    What only the live tree has is found there, and is drift.
    """

    def __init__(self, snapshot: Snapshot, cwd: Path) -> None:
        self._snapshot = snapshot
        self._cwd = cwd
        self._known: dict[str, str] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if _is_ours(name):
            return None
        entries = list(sys.path if path is None else path)
        frozen = [self._mapped(entry) for entry in entries]
        spec = PathFinder.find_spec(name, frozen, target)
        if spec is not None and spec.loader is not None:
            return spec
        live = PathFinder.find_spec(name, self._live(entries, frozen), target)
        if live is None or live.loader is None:
            return spec or live  # a folder without __init__.py holds no code of its own
        if live.origin is not None and self._mapped(live.origin) != live.origin:
            self._snapshot.tell(name, live.origin)
            self._snapshot.drift.settle()
        return live

    def _mapped(self, entry: Any) -> str:
        text = str(entry)
        if text not in self._known:
            self._known[text] = self._snapshot.move(text, cwd=self._cwd)
        return self._known[text]

    def _live(self, entries: Sequence[str], frozen: Sequence[str]) -> list[str]:
        """Where the live tree has what is looked for; other folders have been searched."""
        root, tree = str(self._snapshot.move.root), str(self._snapshot.move.tree)
        return [
            str(entry) if entry != there else root + there.removeprefix(tree)
            for entry, there in zip(entries, frozen, strict=True)
            if entry != there or there == tree or there.startswith(f"{tree}{os.sep}")
        ]


def _is_ours(name: str) -> bool:
    """Whether a module is hpcorch's own, which runs already, wherever it is from."""
    return name.partition(".")[0] == "hpcorch" or name == "hydra_plugins.hpcorch_launcher"


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
    return Snapshot(place=place, unpacked=unpacked, move=Move.of(Path(place.root), unpacked.tree), drift=drift)


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
    raise problem
