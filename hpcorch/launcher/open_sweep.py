"""One sweep over all launches that its sweeper makes: planning, recording, results."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from hpcorch import tunables
from hpcorch.errors import UnavailableError
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.inbox import announce
from hpcorch.journal.inbox import taken_over as withdraw
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.manifest import ManifestHeader, ManifestRun
from hpcorch.journal.project_search import default_ledger
from hpcorch.launcher.composing.compose import Composer
from hpcorch.launcher.composing.composition import Composition, Planner, manifest_bases
from hpcorch.launcher.composing.lengths import check_run_directories
from hpcorch.launcher.config import has_batches, knows_all_runs
from hpcorch.launcher.earlier.extension import ExtendedSweep, next_run
from hpcorch.launcher.earlier.reuse import taken_over, warn_of_derived_seeds
from hpcorch.launcher.earlier.reuse_report import reuse_told
from hpcorch.launcher.earlier.sweep_directory import make_room
from hpcorch.launcher.results import LaunchResults
from hpcorch.launcher.site import Settled, Site, check_of_the_launch, settle_here
from hpcorch.ledger.store import Ledger
from hpcorch.model.events import RunReused
from hpcorch.model.ids import new_sweep_id
from hpcorch.model.keys.launch_keys import USUAL_DELAY_S, LaunchKeys
from hpcorch.model.seeds import new_root_seed
from hpcorch.model.states import Backend
from hpcorch.model.values import digest
from hpcorch.runtime.program.calling_program import interpreter_options
from hpcorch.runtime.program.task_file import Task, dump_task, task_here
from hpcorch.services.recording.freeze import FrozenProgram, freeze_program, left_out, run_key
from hpcorch.services.recording.sweep import FrozenLaunch, NewSweep, create_sweep, record_launch, versions_of
from hpcorch.services.site.project_profile import lease_places, project_at
from hpcorch.services.tending.reconcile import Reconciler
from hpcorch.services.tending.steady import SteadyReconciler

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction

    from hpcorch.slurm.protocol import SlurmClient

log = logging.getLogger(__name__)

_RECORDED_PACKAGES = ("hpcorch", "hydra-core", "omegaconf", "submitit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launching:
    """One invocation of a launcher.

    :param keys: the launcher's, as they were given
    :param ordinal: which of this process's sweeps of that function it is, from 0
    :param extends: the id of the sweep that it adds runs to; None for a new sweep
    :param config: of the sweeper's own composition, ``hydra`` included
    """

    keys: LaunchKeys
    backend: Backend
    config: DictConfig
    composer: Composer
    task_function: TaskFunction
    hydra_context: HydraContext
    ordinal: int = 0
    extends: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLaunch:
    """A frozen launch, and what its results are rebuilt from.

    :param settled: with what each run asks for
    :param reused: runs that took over results of others
    """

    frozen: FrozenLaunch
    settled: Settled
    reused: frozenset[int] = frozenset()

    @property
    def due(self) -> list[ManifestRun]:
        """The runs that are to be executed: those that took over no result."""
        return [run for run in self.frozen.runs if run.run not in self.reused]

    @property
    def asked(self) -> dict[int, LaunchKeys]:
        """What each of these runs asks for."""
        return {run.run: self.settled.asked[run.run] for run in self.due}


@dataclass(slots=True, kw_only=True)
class OpenSweep:
    """A sweep while its launcher lives.

    :param extended: the sweep as it was before, if runs are added to it
    :param argv: the command line, if it is not the one that began the sweep
    """

    journal: ControlJournal
    ledger_path: Path
    keys: LaunchKeys
    backend: Backend
    config: DictConfig
    task: Task
    composer: Composer
    planner: Planner
    site: Site
    extended: ExtendedSweep | None = None
    argv: Sequence[str] | None = None
    host: str = field(default_factory=socket.gethostname)
    _created: bool = False
    _frozen: FrozenProgram | None = None

    @classmethod
    def prepare(cls, launching: Launching, client: SlurmClient | None) -> OpenSweep:
        """A new sweep; nothing is on disk yet.

        :param client: of the cluster that the sweep runs on, if any
        :raises UsageError: the site profile is wrong, or forbids the launch
        """
        cwd = Path.cwd()
        ledger_path = default_ledger(cwd)
        keys = launching.keys
        if keys.python_options is None:
            keys = replace(keys, python_options=interpreter_options())
        layout = SweepLayout(Path(os.path.normpath(cwd / str(launching.config.hydra.sweep.dir))))
        extended = None
        if launching.extends is not None:
            extended = ExtendedSweep.find(
                launching.extends, layout, ledger_path, backend=launching.backend, seed=keys.seed
            )
        return cls(
            journal=ControlJournal(layout, launching.extends or new_sweep_id()),
            ledger_path=ledger_path,
            keys=keys,
            backend=launching.backend,
            config=launching.config,
            task=task_here(
                launching.task_function, launching.hydra_context, entry=keys.entry, ordinal=launching.ordinal
            ),
            composer=launching.composer,
            planner=_planner(keys, extended, cwd),
            site=Site.find(project_at(cwd), client),
            extended=extended,
            argv=None if extended is None else sys.argv,
        )

    @property
    def id(self) -> str:
        """The sweep's id."""
        return self.journal.sweep

    @property
    def layout(self) -> SweepLayout:
        """The sweep directory."""
        return self.journal.layout

    @property
    def client(self) -> SlurmClient:
        """The cluster that the sweep runs on."""
        assert self.site.client is not None
        return self.site.client

    @property
    def project(self) -> Path:
        """The folder whose ledger this sweep is in."""
        return self.ledger_path.parent.parent

    def plan(self, job_overrides: Sequence[Sequence[str]], first: int) -> PlannedLaunch:
        """Freeze these runs, numbered from ``first``.

        If a sweep is extended, those of them that it lacks are frozen, numbered from its next run on.

        :raises DriftError: a sweep is extended, and the code is not what its runs have
        :raises UsageError: a run cannot be frozen, asks for what there is not, or the site profile forbids it
        :raises hydra.errors.HydraException: Hydra cannot compose a run
        """
        first = self._first(first)
        settled = self._settled(job_overrides, first)
        task = dump_task(self.task)
        frozen = None if self.keys.dry_run else self._freeze()
        if frozen is not None:
            settled = replace(settled, runs=[_with_key(run, frozen) for run in settled.runs])
            if self.extended is not None and self.argv is not None and settled.runs:
                self.extended.check_code(frozen, settled.keys)
        return PlannedLaunch(
            frozen=FrozenLaunch(
                header=self._header(first, settled, task, frozen),
                bases=manifest_bases(self.composer.bases, settled.runs),
                runs=settled.runs,
                task=task,
                options=settled.keys.plain(),
                program=frozen,
                argv=self.argv,
            ),
            settled=settled,
        )

    def _first(self, first: int) -> int:
        """The index of the first run of a launch, after those that other processes have added to the sweep.

        :param first: as the sweeper counts
        """
        expected = first if self.extended is None else self.extended.next_run
        if self._created or self.extended is not None:
            with Ledger.open(self.ledger_path, write=True) as ledger:
                Reconciler(ledger, self.journal).ingest()
                has_more = next_run(ledger, self.id) != expected
            if has_more:
                self.extended = ExtendedSweep.find(
                    self.id, self.layout, self.ledger_path, backend=self.backend, seed=None
                )
                self.planner = _planner(self.keys, self.extended, self.planner.cwd)
                return self.extended.next_run
        return expected

    def _settled(self, job_overrides: Sequence[Sequence[str]], first: int) -> Settled:
        """These runs, and what each asks for."""
        runs = self.planner.plan(self._compositions(job_overrides, first))
        if self.extended is not None:
            self.extended.check_directories(run.directory for run in runs)
            if self.argv is not None:
                with Ledger.open(self.ledger_path) as ledger:
                    self.extended.check_configurations(ledger, self.keys)
        check_run_directories(runs, self.layout.directory)
        check_of_the_launch(self.keys, runs)
        here = settle_here(self.keys, runs)
        return self.site.settle(self.keys, runs) if self.backend is Backend.SLURM else here

    def _compositions(self, job_overrides: Sequence[Sequence[str]], first: int) -> Iterator[Composition]:
        """Those that are to be run, numbered without gaps."""
        number = first
        for overrides in job_overrides:
            composition = self.composer.compose(overrides, number)
            if self.extended is None or not self.extended.present.has(composition):
                yield composition
                number += 1

    def _header(self, first: int, settled: Settled, task: bytes, frozen: FrozenProgram | None) -> ManifestHeader:
        keys, client = settled.keys, self.site.client
        return ManifestHeader(
            sweep=self.id,
            launch=first,
            count=len(settled.runs),
            backend=self.backend,
            job_name=str(self.config.hydra.job.name),
            project=str(self.project),
            cwd=str(Path.cwd()),
            python=sys.executable,
            task_digest=digest(task),
            compact=keys.compact,
            max_num_timeout=keys.max_num_timeout,
            requeue_while_progress=keys.requeue_while_progress,
            signal_delay_s=_shortest_warning(settled) if self.backend is Backend.SLURM else USUAL_DELAY_S,
            kill_wait_s=client.config().kill_wait_s if client is not None else int(tunables.LOCAL_GRACE_S),
            leases=lease_places(self.site.profile, keys.resources if self.backend is Backend.SLURM else {}),
            throttle_folder=self.site.throttle_folder(settled.asked),
            versions=versions_of(*_RECORDED_PACKAGES),
            code=None if frozen is None else frozen.snapshot,
            environment=None if frozen is None else frozen.record_place(self.layout, first),
            drift=dict(keys.drift),
        )

    def _freeze(self) -> FrozenProgram:
        """Code and environment of this process: frozen once, since later launches import nothing anew."""
        if self._frozen is None:
            client = self.site.client
            self._frozen = freeze_program(
                self.task.function,
                ledger=self.ledger_path,
                keys=self.keys,
                slurm_release=client.config().version if client is not None else None,
            )
            if self._frozen.trouble is not None:
                log.warning(self._frozen.trouble)
            if left := left_out(self._frozen.code.left):
                log.info("Code: %s", left)
        return self._frozen

    def record(self, planned: PlannedLaunch) -> PlannedLaunch:
        """Put the launch on disk and into the ledger.

        :return: the planned, with the runs that took over results of others
        :raises RecordError: another sweep owns the directory, or the ledger is damaged
        :raises UnavailableError: the sweep directory or the ledger cannot be written
        """
        # Opened first: a ledger that cannot be written stops the launch here.
        with Ledger.open(self.ledger_path, write=True, create=True) as ledger:
            if self.extended is not None:
                return self._added(ledger, self.extended, planned)
            if not self._created:
                if self.layout.control.exists():
                    make_room(self.layout, ledger, reuse=self.keys.reuse_sweep_dir)
                self.journal = create_sweep(self.layout, self._new_sweep())
                self._set_mode()
                self._created = True
                with suppress(OSError):  # until the ledger has it; should this process die before
                    announce(self.ledger_path, self.id, self.layout)
            done = self._recorded(ledger, planned)
            withdraw(self.ledger_path, self.id)
        return done

    def _added(self, ledger: Ledger, extended: ExtendedSweep, planned: PlannedLaunch) -> PlannedLaunch:
        with self.journal.locked():
            Reconciler(ledger, self.journal).ingest()
            extended.check_alone(ledger)
            done = self._recorded(ledger, planned)
        extended.added(len(planned.frozen.runs))
        return done

    def _recorded(self, ledger: Ledger, planned: PlannedLaunch) -> PlannedLaunch:
        reused = self._reused(ledger, planned.frozen) if self.keys.needed else []
        record_launch(self.journal, planned.frozen, reused)
        Reconciler(ledger, self.journal).ingest()
        return replace(planned, reused=frozenset(fact.run for fact in reused))

    def _reused(self, ledger: Ledger, frozen: FrozenLaunch) -> list[RunReused]:
        if self.keys.seed is None and not frozen.header.launch:
            warn_of_derived_seeds(frozen.runs, self.planner.root_seed)
        reused = taken_over(ledger, self.layout, frozen.runs)
        assert frozen.header.code is not None
        log.info("%s", reuse_told(ledger, frozen.runs, frozen.header.code, reused={fact.run for fact in reused}))
        return reused

    def followed(self) -> SteadyReconciler:
        """What keeps this sweep's rows up to date, and goes on if the ledger goes away. A context manager."""
        return SteadyReconciler(self.ledger_path, self.journal, log.warning)

    def results(self, planned: PlannedLaunch, ledger: Ledger) -> list[JobReturn]:
        """One JobReturn for each run of a launch that is over."""
        return self._results(planned).read(ledger)

    def handles(self, planned: PlannedLaunch, ledger: Ledger | None = None) -> list[JobReturn]:
        """One JobReturn for each run of a launch that was left, or never submitted."""
        states = {run.run: run.state for run in ledger.runs(self.id)} if ledger is not None else {}
        return self._results(planned).handles(states)

    def _results(self, planned: PlannedLaunch) -> LaunchResults:
        frozen = planned.frozen
        return LaunchResults(
            layout=self.layout,
            header=frozen.header,
            bases={base.base: base for base in frozen.bases},
            runs=frozen.runs,
            hint=self._launch_hint(),
        )

    @property
    def may_launch_more(self) -> bool:
        """Whether the sweeper may launch again after a launch is over."""
        return not knows_all_runs(self.config) or has_batches(self.config)

    def _launch_hint(self) -> str:
        """Hydra's basic sweeper stops at the first launch that has a failed run, which no launcher can prevent."""
        if not (knows_all_runs(self.config) and has_batches(self.config)):
            return ""
        return (
            "\nHydra's basic sweeper launches no further launch after one with a failed run: leave out"
            " hydra.sweeper.max_batch_size, so that all runs are one planned, and limit how many run at once with"
            " hydra.launcher.array_parallelism (or slots)"
        )

    def _new_sweep(self) -> NewSweep:
        return NewSweep(
            id=self.id,
            name=self.keys.name or str(self.config.hydra.job.name),
            backend=self.backend,
            project=self.project,
            argv=sys.argv,
            root_seed=self.planner.root_seed,
            cluster=self.site.client.config().cluster if self.site.client is not None else None,
            sweeper=str(self.config.hydra.sweeper._target_),
            tags=self.keys.tags,
            versions=versions_of(*_RECORDED_PACKAGES),
        )

    def _set_mode(self) -> None:
        """``hydra.sweep.mode``, as Hydra's own launchers apply it."""
        mode = self.config.hydra.sweep.get("mode")
        if mode is not None:
            try:
                self.layout.directory.chmod(int(str(mode), 8))
            except OSError as error:
                raise UnavailableError(
                    f"hydra.sweep.mode={mode} cannot be set on {self.layout.directory}: {error.strerror}"
                ) from error


def _planner(keys: LaunchKeys, extended: ExtendedSweep | None, cwd: Path) -> Planner:
    """With the seeds that all runs would have if they had been launched at once."""
    if extended is not None:
        return Planner(root_seed=extended.sweep.root_seed, cwd=cwd, seen=extended.occurrences)
    return Planner(root_seed=new_root_seed() if keys.seed is None else keys.seed, cwd=cwd)


def _shortest_warning(settled: Settled) -> int:
    return min(asked.warned_s for asked in {settled.keys, *settled.asked.values()})


def _with_key(run: ManifestRun, frozen: FrozenProgram) -> ManifestRun:
    key = run_key(config_digest=run.config_digest, code=frozen.code.digest, seed=run.seed)
    return replace(run, key=key)
