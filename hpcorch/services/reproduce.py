"""Executing a run once more from what was frozen, as a sweep of its own that says which run it repeats."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hpcorch.errors import DriftError, RecordError, UsageError
from hpcorch.journal.archives import problem
from hpcorch.journal.control import control_journal
from hpcorch.journal.files import write_whole
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import FrozenRun, RecordPlace, SnapshotPlace, read_run
from hpcorch.ledger import Ledger
from hpcorch.model.entities import Run, Sweep
from hpcorch.model.events import CodeFrozen, EnvironmentFrozen, RunReproduced, SweepCreated
from hpcorch.model.ids import new_sweep_id
from hpcorch.provenance.environment import Environment, record
from hpcorch.provenance.environment_changes import Difference, Severity, differences
from hpcorch.runtime.checkpoint_file import digest_of
from hpcorch.runtime.environment import environment_file
from hpcorch.services.audit_evidence import Evidence, Place, find_place, gather
from hpcorch.services.local import LocalPool
from hpcorch.services.local_options import local_request
from hpcorch.services.reconcile import Reconciler
from hpcorch.services.record import Launch, create_sweep, record_launch
from hpcorch.services.sameness import Compared, Sameness, compare_outcomes
from hpcorch.services.scripts import script_exports
from hpcorch.services.select import Selector, select_runs

# Results depend on these beyond code and packages; they are set as they were at submission.
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """A run and its repetition."""

    original: Original
    sweep: str
    run: Run
    compared: Sequence[Compared]

    @property
    def sameness(self) -> Sameness:
        """The greatest difference."""
        return max((one.sameness for one in self.compared), key=list(Sameness).index, default=Sameness.IDENTICAL)

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        differ = self.original.differences
        return {
            "original": f"{self.original.run.sweep}/{self.original.run.run}",
            "reproduction": f"{self.sweep}/0",
            "state": self.run.state.value,
            "sameness": self.sameness.value,
            "environment": None
            if differ is None
            else [{**asdict(one), "severity": one.severity.value} for one in differ],
            "compared": [{**asdict(one), "sameness": one.sameness.value} for one in self.compared],
        }


def find_original(
    ledger: Ledger, selector: Selector, places: Callable[[Sweep], Place | None] = find_place
) -> Original:
    """The run to repeat, with all that was frozen of it compared with its digests.

    :param places: finds the record of its sweep
    :raises NotFoundError: it is not there
    :raises UsageError: one run is not named, or no code was frozen for it
    :raises RecordError: the record is gone
    :raises DriftError: what was frozen was changed since
    """
    sweep = ledger.sweep(selector.sweep).sweep
    runs = select_runs(ledger, sweep.id, selector, limit=2)
    if len(runs) != 1:
        raise UsageError(f"one run is reproduced at a time: name it, such as {sweep.id}/0")
    evidence = gather(ledger, sweep, runs, places(sweep))
    batch, code = evidence.batch(runs[0]), evidence.code(runs[0])
    if evidence.place is None:
        raise RecordError(f"the record of sweep {sweep.id} is not in {sweep.directory} any more: put it back")
    if batch is None or code is None:
        raise UsageError(f"no code was frozen for run {sweep.id}/{runs[0].run}: it cannot be reproduced")
    _unchanged(evidence.place.file(batch.manifest), batch.manifest_digest)
    _unchanged(evidence.place.layout.task(batch.batch), batch.task_digest)
    if (trouble := problem(evidence.place.archive(code), code.digest)) is not None:
        raise DriftError(trouble)
    frozen_environment = evidence.environment(runs[0])
    before = None if frozen_environment is None else evidence.read_environment(frozen_environment)
    return Original(
        evidence=evidence,
        frozen=read_run(evidence.place.file(batch.manifest), runs[0].run),
        code=code,
        differences=None
        if before is None
        else [one for one in differences(before, _environment_here(before)) if one.severity is not Severity.NOTE],
    )


def _environment_here(before: Environment) -> Environment:
    """The environment that the repetition will have."""
    kept = {name: before.variables[name] for name in _VARIABLES if name in before.variables}
    return record(variables={**os.environ, **script_exports(os.environ), **kept})


def _unchanged(path: Path, digest: str) -> None:
    try:
        found = digest_of(path)
    except OSError as error:
        raise RecordError(
            f"{path} cannot be read ({error.strerror}): without it nothing can be repeated"
        ) from error
    if found != digest:
        raise DriftError(f"{path} was changed since the run was submitted: `hpcorch audit` says what else was")


def reproduce(ledger: Ledger, original: Original, directory: Path, *, tolerance: float) -> Reproduction:
    """Execute a run again on this machine, and compare.

    :param ledger: open for writing; it takes the new sweep
    :param directory: of the new sweep; made if it is not there
    :param tolerance: relative, of finite numbers
    :raises RecordError: another sweep owns the directory
    :raises Interrupted: SIGINT or SIGTERM arrived
    """
    layout = SweepLayout(directory.absolute())
    sweep = new_sweep_id()
    _record(original, layout, sweep, ledger.path)
    reconciler = Reconciler(ledger, layout, sweep)
    reconciler.ingest()
    keys = {
        name: value
        for name, value in _options(original).items()
        if name in ("gpus_per_node", "gres", "nodes", "tasks_per_node", "timeout_min")
    }
    request = local_request(keys, sweep=sweep, batch=0, runs=[0])
    environ = {**os.environ, **_variables(original)}
    LocalPool(layout, replace(request, environ=environ, stderr_to_stdout=True)).run(reconciler.ingest)
    reconciler.ingest()
    repeated = gather(ledger, ledger.sweep(sweep).sweep, ledger.runs(sweep), find_place(ledger.sweep(sweep).sweep))
    return Reproduction(
        original=original,
        sweep=sweep,
        run=repeated.runs[0],
        compared=compare_outcomes(original.evidence, repeated, tolerance=tolerance),
    )


def _options(original: Original) -> dict[str, Any]:
    batch = original.evidence.batch(original.run)
    return {} if batch is None else dict(batch.options)


def _variables(original: Original) -> dict[str, str]:
    frozen = original.evidence.environment(original.run)
    known = None if frozen is None else original.evidence.read_environment(frozen)
    variables = {} if known is None else known.variables
    return {name: variables[name] for name in _VARIABLES if name in variables}


def _record(original: Original, layout: SweepLayout, sweep: str, ledger: Path) -> None:
    """Write the new sweep with its one run, and what it repeats."""
    made = original.evidence.sweep
    of = f"{original.run.sweep}/{original.run.run}"
    create_sweep(
        layout,
        SweepCreated(
            sweep=sweep,
            name=made.name,
            backend="local",
            directory=str(layout.directory),
            project=str(ledger.parent.parent),
            user=getpass.getuser(),
            host=socket.gethostname(),
            cwd=str(Path.cwd()),
            argv=["hpcorch", "reproduce", of],
            root_seed=made.root_seed,
            sweeper=made.sweeper,
            tags=["reproduction"],
            python=sys.executable,
            versions=dict(made.versions),
        ),
    )
    assert original.evidence.place is not None
    archive = original.evidence.place.archive(original.code)
    place = original.evidence.environment(original.run)
    with control_journal(layout) as control:
        control.append(RunReproduced(run=0, of=of, key=original.run.key or None))
        control.append(replace(original.code, batch=0, archive=str(archive), diff=None, diff_digest=None))
        if place is not None:
            file = layout.relative(environment_file(layout.batch(0)))
            control.append(
                EnvironmentFrozen(batch=0, file=file, digest=place.digest, fingerprint=place.fingerprint)
            )
    record_launch(layout, _launch(original, layout, sweep, archive))
    if place is not None:
        write_whole(environment_file(layout.batch(0)), original.evidence.place.file(place.file).read_bytes())


def _launch(original: Original, layout: SweepLayout, sweep: str, archive: Path) -> Launch:
    assert original.evidence.place is not None
    frozen = original.frozen
    there = Path(frozen.header.cwd).is_dir()
    before = frozen.header.environment
    header = replace(
        frozen.header,
        sweep=sweep,
        batch=0,
        count=1,
        backend="local",
        # Relative paths of data lead where they led, if that is here.
        cwd=frozen.header.cwd if there else str(layout.directory),
        python=sys.executable,
        throttle_folder=None,
        code=SnapshotPlace(digest=original.code.digest, archive=str(archive), root=original.code.root),
        environment=None
        if before is None
        else RecordPlace(
            file=layout.relative(environment_file(layout.batch(0))),
            digest=before.digest,
            fingerprint=before.fingerprint,
            apart=before.apart,
        ),
        drift={**frozen.header.drift, "environment": "record", "inputs": "warn"},
    )
    run = frozen.run
    subdir = "0"
    fixed = {
        **run.node.get("frozen", {}),
        "hydra.sweep.dir": str(layout.directory),
        "hydra.sweep.subdir": subdir,
        "hydra.job.num": run.run,
    }
    again = replace(
        run, run=0, directory=str(layout.directory / subdir), node={**run.node, "frozen": fixed}, launcher={}
    )
    task = original.evidence.place.layout.task(original.run.batch).read_bytes()
    return Launch(header=header, bases=[frozen.base], runs=[again], task=task, options=_options(original))
