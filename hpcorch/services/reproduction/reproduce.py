"""Executing a run again from what was frozen, as a sweep of its own that names the run it repeats.

A directory holds one repetition. Who names it again, whatever became of the process that began it, finds the same
one: what was not submitted is submitted, what runs is waited for, and what is over is compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hpcorch.errors import UnavailableError, UsageError
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.ledger import Ledger
from hpcorch.model.entities import Run
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.states import Backend, RunState
from hpcorch.services.audit.evidence import find_place, gather
from hpcorch.services.local.pool import LocalPool
from hpcorch.services.reproduction.comparison import ComparedValue, Sameness, compare_conditions, compare_outcomes
from hpcorch.services.reproduction.keys import changed_keys, check_site, keys_again, usual_backend
from hpcorch.services.reproduction.original import Original
from hpcorch.services.reproduction.record import Plan, find_repetition, record_repetition
from hpcorch.services.submission.resubmission import Resubmission
from hpcorch.services.submission.submit import submit_array
from hpcorch.services.tending.ownership import check_own
from hpcorch.services.tending.reconcile import Reconciler
from hpcorch.services.tending.steady import SteadyReconciler
from hpcorch.services.tending.tend import tend
from hpcorch.slurm.protocol import SlurmClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """The repetition of a run, on record.

    :param reconciler: of its sweep, in a ledger that is open for writing
    :param changes: launcher keys that differ from those on record, if it is submitted now, as plain values
    :param is_new: nobody had begun it before
    """

    original: Original
    reconciler: Reconciler
    backend: Backend
    is_new: bool
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sweep(self) -> str:
        """The sweep's id."""
        return self.reconciler.sweep

    def submit(self, client: SlurmClient) -> str | None:
        """Give it to Slurm; the array's job id. None if that was done before.

        :raises UsageError: it was begun by another user, or on another cluster
        :raises PolicyError: the site profile forbids it
        :raises SubmissionRejectedError: Slurm does not take it; the same call later tries again
        :raises UnavailableError: Slurm does not answer, or another process is busy with the sweep
        """
        with self.reconciler.journal.locked():
            if not self._is_due():
                return None
            check_own(self.reconciler.ledger.sweep(self.sweep).sweep, client)
            if not self.is_new:  # keys and profile may be others than when it was begun
                check_site({self._again().keys: 1}, client)
            request = self._again().request(self.original.environ)
            try:
                array = submit_array(self.reconciler.journal, request, client)
            finally:
                self.reconciler.ingest()
        tend(self.reconciler, client, hurry=True)
        return array.job_id

    def run_here(self, tell: Callable[[str], None]) -> None:
        """Execute it on this machine, and return when it is over. Nothing is done if that was begun before.

        :param tell: told what becomes of a ledger that goes away meanwhile
        :raises hpcorch.services.local.pool.Interrupted: SIGINT or SIGTERM arrived; the run is stopped and recorded
        """
        with self.reconciler.journal.locked():
            if not self._is_due():
                return
            request = self._again().local_request()
            terms = replace(request.terms, stderr_to_stdout=True)
            request = replace(request, environ=self.original.environ, terms=terms)
            pool = LocalPool.submit(self.reconciler.journal, request)
        journal = self.reconciler.journal
        with SteadyReconciler(self.reconciler.ledger.path, journal, tell) as reconciler:
            pool.run(reconciler.ingest)
            reconciler.ingest()

    def _is_due(self) -> bool:
        self.reconciler.ingest()
        run = self._run
        if run.state is RunState.PLANNED and run.submission is None:
            return True
        if self.changes:
            raise UsageError(
                f"{self.reconciler.layout.directory} holds a repetition that is {run.state.value} with other keys:"
                " name another directory"
            )
        return False

    def _again(self) -> Resubmission:
        (launch,) = self.reconciler.ledger.launches(self.sweep)
        keys = LaunchKeys.recorded(launch.options).changed(self.changes)
        return Resubmission(layout=self.reconciler.layout, launch=launch, runs=[0], keys=keys)

    @property
    def _run(self) -> Run:
        return self.reconciler.ledger.runs(self.sweep)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """A run and its repetition, which is over.

    :param conditions: hardware and thread counts that were not the same
    """

    original: Original
    sweep: str
    run: Run
    conditions: Sequence[ComparedValue]
    compared: Sequence[ComparedValue]

    @property
    def sameness(self) -> Sameness:
        """The greatest difference."""
        return max((one.sameness for one in self.compared), key=list(Sameness).index, default=Sameness.IDENTICAL)

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        differ = self.original.differences
        return {
            "original": self.original.name,
            "reproduction": f"{self.sweep}/0",
            "state": self.run.state.value,
            "sameness": self.sameness.value,
            "environment": None
            if differ is None
            else [{**asdict(one), "severity": one.severity.value} for one in differ],
            "conditions": [one.as_plain() for one in self.conditions],
            "compared": [one.as_plain() for one in self.compared],
        }


def open_repetition(
    ledger: Ledger,
    original: Original,
    directory: Path,
    *,
    backend: Backend | None,
    changes: Mapping[str, Any],
    client: SlurmClient,
) -> Repetition:
    """The repetition of a run in a directory; put on record if it is not there. Nothing is executed yet.

    :param ledger: open for writing; it takes the new sweep
    :param directory: of the new sweep; made if it is not there
    :param backend: None for where the run was executed, if that can be reached from here
    :param changes: launcher keys that differ from those of the run
    :param client: of this machine's cluster, if there is one
    :raises UsageError: a key cannot be, or the repetition was begun elsewhere
    :raises PolicyError: the site profile forbids it
    :raises RecordError: something else owns the directory, or it cannot be written
    :raises SlurmUnavailableError: Slurm is to execute it, and does not answer
    """
    layout = SweepLayout(Path(os.path.normpath(directory.absolute())))
    found = find_repetition(layout, original.name)
    begun = Backend.of(found.backend) if found is not None else None
    if begun is not None and backend not in (None, begun):
        raise UsageError(
            f"the repetition in {layout.directory} was begun with --backend {begun}: name another directory"
        )
    where = begun or backend or usual_backend(original, client)
    keys = keys_again(original, where)
    changed = changed_keys(keys, changes, where)
    if where is Backend.SLURM and found is None:
        check_site({changed: 1}, client)
    plan = Plan(
        original=original,
        layout=layout,
        keys=keys,
        ledger=ledger.path,
        client=client if where is Backend.SLURM else None,
    )
    journal = ControlJournal(layout, found.sweep) if found else record_repetition(plan, original.environ)
    reconciler = Reconciler(ledger, journal)
    reconciler.ingest()
    return Repetition(
        original=original, reconciler=reconciler, backend=where, is_new=found is None, changes=changes
    )


def compare(ledger: Ledger, original: Original, sweep: str, *, tolerance: float) -> Reproduction:
    """Compare a run with its repetition.

    :param ledger: that has the repetition
    :param sweep: the repetition's
    :param tolerance: relative, of finite numbers
    :raises UnavailableError: the repetition is not over
    """
    made = ledger.sweep(sweep).sweep
    repeated = gather(ledger, made, ledger.runs(sweep), find_place(ledger, made))
    run = repeated.runs[0]
    if not run.state.is_final:
        raise UnavailableError(
            f"there is nothing to compare, since {sweep}/0 is {run.state.value}"
            f"{f' ({run.reason})' if run.reason else ''}: the same command goes on with it"
        )
    return Reproduction(
        original=original,
        sweep=sweep,
        run=run,
        conditions=compare_conditions(original.evidence, repeated),
        compared=compare_outcomes(original.evidence, repeated, tolerance=tolerance),
    )
