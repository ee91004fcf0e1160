"""What a rerun takes from the record: runs that are over, their frozen configuration and their launcher keys."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpcorch.errors import UsageError
from hpcorch.journal.layout import moved
from hpcorch.journal.manifest import FrozenRun, ManifestHeader
from hpcorch.journal.manifest_file import read_all
from hpcorch.ledger import Ledger
from hpcorch.model.entities import Run, Sweep
from hpcorch.model.events import CodeFrozen, LaunchPlanned
from hpcorch.model.keys.kinds import Heeds
from hpcorch.model.keys.launch_keys import LaunchKeys, names
from hpcorch.model.states import Backend, RunState
from hpcorch.runtime.program.relocation import relocated_header, relocated_task
from hpcorch.runtime.program.task_file import TaskFile, read_task
from hpcorch.services.audit.evidence import Evidence, Place, gather, place_of
from hpcorch.services.local.request import check_local
from hpcorch.services.reproduction.keys import check_site, keys_now
from hpcorch.services.reproduction.original import check_unchanged
from hpcorch.services.rerun.overrides import Changes, changed_run
from hpcorch.services.selection.selectors import Selector, select_runs
from hpcorch.services.tending.ownership import check_own
from hpcorch.services.tending.refresh import bring_up_to_date
from hpcorch.slurm.protocol import SlurmClient


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchAgain:
    """The runs of one launch that are run again.

    :param code: that the launch froze
    :param archive: the snapshot of it
    :param task: its task file, verified
    :param keys: the launcher's, with those that were changed
    """

    header: ManifestHeader
    code: CodeFrozen
    archive: Path
    task: TaskFile
    runs: Sequence[FrozenRun]
    keys: LaunchKeys

    @property
    def indices(self) -> list[int]:
        """The runs' indices, ascending."""
        return [one.run.run for one in self.runs]

    @property
    def asked(self) -> dict[int, LaunchKeys]:
        """Run -> what it asks for."""
        return {one.run.run: self.keys.changed(one.run.launcher) for one in self.runs}


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunPlan:
    """Which runs would be run again, how and where; and why others would not.

    :param launches: those that have such runs, in order
    :param passed_over: run -> why it is not run again
    :param directory: of the new sweep
    :param changed: overrides that are not those of the runs, as they were typed
    """

    sweep: Sweep
    launches: Sequence[LaunchAgain]
    passed_over: Mapping[int, str]
    directory: Path
    changed: Sequence[str]
    notices: Sequence[str]

    @property
    def runs(self) -> list[int]:
        """The runs to run again, ascending."""
        return sorted(index for launch in self.launches for index in launch.indices)

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "of": self.sweep.id,
            "runs": self.runs,
            "changed": list(self.changed),
            "directory": str(self.directory),
            "passed_over": {str(run): why for run, why in self.passed_over.items()},
        }


def plan_rerun(ledger: Ledger, selector: Selector, changes: Changes, client: SlurmClient) -> RerunPlan:
    """What would be run again. Nothing is on disk yet, and no code of the project was executed.

    :raises NotFoundError: no sweep or run is selected
    :raises UsageError: the sweep is a script, another user's or another cluster's, or a change cannot be made
    :raises RecordError: the record is gone
    :raises DriftError: what was frozen was changed since
    :raises PolicyError: the site profile forbids it
    :raises SlurmUnavailableError: Slurm is to execute it, and does not answer
    """
    known = ledger.sweep(selector.sweep)
    sweep = known.sweep
    if sweep.is_wrapped:
        raise UsageError(
            f"{sweep.id} is a script or a command of its own, which is not started from here: submit or execute it"
            " again"
        )
    check_own(sweep, client)
    notices = bring_up_to_date(ledger, [known]).notices
    chosen = select_runs(ledger, sweep.id, selector)
    over = [run for run in chosen if run.state.is_final]
    place = place_of(ledger, sweep)
    evidence = gather(ledger, sweep, over, place)
    plan = RerunPlan(
        sweep=sweep,
        launches=_launches(evidence, place, changes),
        passed_over={run.run: _why_not(run) for run in chosen if not run.state.is_final},
        directory=_free_directory(place.layout.directory),
        changed=changes.texts,
        notices=notices,
    )
    if sweep.backend is Backend.SLURM and plan.launches:
        check_site(Counter(keys for launch in plan.launches for keys in launch.asked.values()), client)
    return plan


def _why_not(run: Run) -> str:
    if run.state is RunState.PLANNED:
        return f"never submitted{f': {run.reason}' if run.reason else ''}"
    return f"not over yet ({run.state.value})"


def _launches(evidence: Evidence, place: Place, changes: Changes) -> list[LaunchAgain]:
    by_launch: dict[int, list[int]] = {}
    for run in evidence.runs:
        by_launch.setdefault(run.launch, []).append(run.run)
    return [_launch(evidence, place, first, indices, changes) for first, indices in sorted(by_launch.items())]


def _launch(evidence: Evidence, place: Place, first: int, indices: Sequence[int], changes: Changes) -> LaunchAgain:
    sweep = evidence.sweep
    launch, code = evidence.launches.get(first), evidence.codes.get(first)
    if launch is None or code is None:
        raise UsageError(f"no code was frozen for run {sweep.id}/{indices[0]}: launch the program again")
    check_unchanged(place, launch)
    moves = place.layout.moves
    header, bases, runs = read_all(place.file(launch.manifest))
    header = relocated_header(header, moves)
    if not os.path.isdir(header.cwd) or not os.access(header.cwd, os.X_OK):  # noqa: PTH112 - asks, and never raises
        raise UsageError(
            f"{header.cwd}, where the program was started and relative paths begin, cannot be entered: put it back"
        )
    task = relocated_task(read_task(place.layout.task(first), launch.task_digest), moves)
    with _importing(task.sys_path):
        again = [
            _changed(FrozenRun(header=header, base=bases[run.base], run=run), changes, sweep.root_seed)
            for run in runs
            if run.run in set(indices)
        ]
    return LaunchAgain(
        header=header,
        code=replace(code, root=str(moved(Path(code.root), moves))),
        archive=place.archive(code),
        task=task,
        runs=again,
        keys=_keys(launch, sweep.backend, changes.launcher),
    )


@contextmanager
def _importing(sys_path: Sequence[str]) -> Iterator[None]:
    """Find the modules of the program, whose classes its configuration may have."""
    before = list(sys.path)
    sys.path += sys_path
    try:
        yield
    finally:
        sys.path[:] = before


def _changed(frozen: FrozenRun, changes: Changes, root_seed: int) -> FrozenRun:
    own = {key: value for key, value in frozen.run.launcher.items() if key not in changes.launcher}
    frozen = replace(frozen, run=replace(frozen.run, launcher=own))
    return replace(frozen, run=changed_run(frozen, changes.overrides, root_seed=root_seed))


def _keys(launch: LaunchPlanned, backend: Backend, changes: Mapping[str, Any]) -> LaunchKeys:
    known = names(Heeds.SBATCH if backend is Backend.SLURM else Heeds.POOL)
    for key in changes:
        if key not in known:
            raise UsageError(
                f"hydra.launcher.{key} cannot be changed for a rerun; keys that can are: {', '.join(sorted(known))}"
            )
    asked = LaunchKeys.recorded(launch.options)
    if backend is Backend.SLURM:
        keys = keys_now(asked).changed(changes)
        keys.check_warning()
        keys.check_packed()
        return keys
    keys = replace(asked, submitit_folder=None).changed(changes)
    check_local(keys)
    return keys


def _free_directory(original: Path) -> Path:
    """Beside the original: its name with ``-rerun``, and a number if there is one already."""
    stem = re.sub(r"-rerun(-\d+)?$", "", original.name)
    number, found = 2, original.with_name(f"{stem}-rerun")
    while found.exists():
        number, found = number + 1, original.with_name(f"{stem}-rerun-{number}")
    return found
