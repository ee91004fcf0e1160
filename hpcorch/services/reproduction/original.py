"""The run to execute again, with everything that was frozen of it, checked against its digests."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcorch.errors import DriftError, ForeignFileError, RecordError, UsageError
from hpcorch.journal.archives import problem
from hpcorch.journal.manifest import FrozenRun
from hpcorch.journal.manifest_file import read_run
from hpcorch.ledger import Ledger
from hpcorch.model.drift import Severity
from hpcorch.model.entities import Run, Sweep
from hpcorch.model.events import CodeFrozen, LaunchPlanned
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.provenance.environment.changes import Difference, differences
from hpcorch.provenance.environment.record import Environment, record
from hpcorch.services.audit.evidence import Evidence, Place, find_place, gather, place_of
from hpcorch.services.reproduction.variables import as_recorded, other_places
from hpcorch.services.selection.selectors import Selector, one_of, select_runs
from hpcorch.slurm.job_environment import script_exports


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A run that can be executed again: all that was frozen of it is there, and as it was.

    :param differences: of this environment from the one that it was submitted in, the gravest first; None if that
        is not on record
    """

    evidence: Evidence
    frozen: FrozenRun
    code: CodeFrozen
    differences: Sequence[Difference] | None

    @property
    def run(self) -> Run:
        """The run as the ledger has it."""
        return self.evidence.runs[0]

    @property
    def name(self) -> str:
        """SWEEP/INDEX"""
        return f"{self.run.sweep}/{self.run.run}"

    @property
    def keys(self) -> LaunchKeys:
        """The launcher's keys as they were given."""
        launch = self.evidence.launch(self.run)
        return LaunchKeys() if launch is None else LaunchKeys.recorded(launch.options)

    @property
    def has_folder(self) -> bool:
        """Whether the working directory, where relative paths of data start, is here and may be entered."""
        return os.access(self.frozen.header.cwd, os.X_OK) and os.path.isdir(self.frozen.header.cwd)  # noqa: PTH112

    @property
    def environ(self) -> dict[str, str]:
        """The environment that the repetition gets: this process's, with what says how to compute as it was."""
        known = self._recorded
        return dict(os.environ) if known is None else as_recorded(os.environ, known.variables)

    @property
    def places(self) -> dict[str, str]:
        """Recorded variables that are not set as they were, since they name what another machine has elsewhere."""
        known = self._recorded
        return {} if known is None else other_places(os.environ, known.variables)

    @property
    def _recorded(self) -> Environment | None:
        frozen = self.evidence.environment(self.run)
        return None if frozen is None else self.evidence.read_environment(frozen)


def find_original(
    ledger: Ledger,
    selector: Selector,
    places: Callable[[Sweep], Place | None] | None = None,
    *,
    trusts_code: bool = False,
) -> Original:
    """The run to repeat, with all that was frozen of it compared with its digests.

    :param places: finds the record of its sweep; None looks where it is now
    :param trusts_code: the run may be another user's, whose code will be executed
    :raises ForeignFileError: it is another user's, or comes from a bundle, which may be anybody's
    :raises NotFoundError: it is not there
    :raises UsageError: one run is not named, it is not over or was not executed, no code was frozen for it, or it
        is a user's script
    :raises RecordError: the record is gone
    :raises DriftError: what was frozen was changed since
    """
    sweep = ledger.sweep(selector.sweep).sweep
    runs = select_runs(ledger, sweep.id, selector, limit=2)
    if len(runs) != 1:
        raise UsageError(f"one run is reproduced at a time: name it, such as {one_of(sweep.id, runs)}")
    evidence = gather(ledger, sweep, runs, places(sweep) if places is not None else find_place(ledger, sweep))
    launch, code = evidence.launch(runs[0]), evidence.code(runs[0])
    if launch is not None and not launch.task_digest:
        raise UsageError(
            f"{sweep.id} is a script or a command of its own, which is not started from here: submit or execute it"
            " again, and compare the runs with `hpcorch diff`"
        )
    _executed(evidence, runs[0])
    try:
        place = evidence.place or place_of(ledger, sweep)
    except RecordError as error:
        raise RecordError(f"{error}. `--bundle` takes the run from a bundle") from error
    if place.within is not None and not trusts_code:
        raise ForeignFileError(
            f"{place.within} has what another user may have written: to repeat the run executes its code,"
            " and unpickles its objects, as you. If you trust who made it, add --trust-code"
        )
    if launch is None or code is None:
        raise UsageError(f"no code was frozen for run {sweep.id}/{runs[0].run}: it cannot be reproduced")
    check_unchanged(place, launch)
    if (trouble := problem(place.archive(code), code.digest)) is not None:
        raise DriftError(trouble)
    frozen_environment = evidence.environment(runs[0])
    before = None if frozen_environment is None else evidence.read_environment(frozen_environment)
    return Original(
        evidence=evidence,
        frozen=read_run(place.file(launch.manifest), runs[0].run),
        code=code,
        differences=None
        if before is None
        else [one for one in differences(before, _environment_here(before)) if one.severity is not Severity.NOTE],
    )


def _executed(evidence: Evidence, run: Run) -> None:
    name = f"run {run.sweep}/{run.run}"
    if not evidence.attempts(run.run) and run.run not in evidence.reused:
        raise UsageError(f"{name} was not executed ({run.state.value}): there is nothing to compare with")
    if not run.state.is_final:
        raise UsageError(
            f"{name} is not over ({run.state.value}): `hpcorch wait {run.sweep}/{run.run}` waits for it"
        )


def _environment_here(before: Environment) -> Environment:
    """The environment that the repetition will have."""
    environ = as_recorded(os.environ, before.variables)
    return record(variables={**script_exports(environ), **environ})


def check_unchanged(place: Place, launch: LaunchPlanned) -> None:
    """Compare manifest and task file of a launch with their digests.

    :raises RecordError: one is gone
    :raises DriftError: one was changed
    """
    _unchanged(place, place.file(launch.manifest), launch.manifest_digest)
    _unchanged(place, place.layout.task(launch.first_run), launch.task_digest)


def _unchanged(place: Place, path: Path, digest: str) -> None:
    try:
        found = place.digest(path)
    except OSError as error:
        raise RecordError(
            f"{path} cannot be read ({error.strerror}): without it nothing can be repeated"
        ) from error
    if found != digest:
        raise DriftError(f"{path} was changed since the run was submitted: `hpcorch audit` says what else was")
