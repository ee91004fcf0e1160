"""Executing a run once more from what was frozen, as a sweep of its own that says which run it repeats."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hpcorch.journal.control import control_journal
from hpcorch.journal.files import write_whole
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import RecordPlace, SnapshotPlace
from hpcorch.ledger import Ledger
from hpcorch.model.entities import Run
from hpcorch.model.events import EnvironmentFrozen, RunReproduced, SweepCreated
from hpcorch.model.ids import new_sweep_id
from hpcorch.runtime.environment import environment_file
from hpcorch.services.audit_evidence import find_place, gather
from hpcorch.services.local import LocalPool
from hpcorch.services.local_options import local_request
from hpcorch.services.original import Original
from hpcorch.services.reconcile import Reconciler
from hpcorch.services.record import Launch, create_sweep, record_launch
from hpcorch.services.sameness import Compared, Sameness, compare_outcomes


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
        for name, value in original.options.items()
        if name in ("gpus_per_node", "gres", "nodes", "tasks_per_node", "timeout_min")
    }
    request = local_request(keys, sweep=sweep, batch=0, runs=[0])
    environ = {**os.environ, **original.variables}
    LocalPool(layout, replace(request, environ=environ, stderr_to_stdout=True)).run(reconciler.ingest)
    reconciler.ingest()
    repeated = gather(ledger, ledger.sweep(sweep).sweep, ledger.runs(sweep), find_place(ledger.sweep(sweep).sweep))
    return Reproduction(
        original=original,
        sweep=sweep,
        run=repeated.runs[0],
        compared=compare_outcomes(original.evidence, repeated, tolerance=tolerance),
    )


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
    return Launch(header=header, bases=[frozen.base], runs=[again], task=task, options=original.options)
