"""The launchers themselves: what Hydra calls.

Hydra's plugin scanner imports this module at the start of every Hydra program, so everything heavy is imported
inside the methods.
"""

from __future__ import annotations

import logging
import os
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.plugins.launcher import Launcher

from hpcorch.errors import HpcorchError
from hpcorch.launcher.errors import LaunchError
from hpcorch.model.states import Backend

if TYPE_CHECKING:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from hpcorch.launcher.open_sweep import OpenSweep, PlannedLaunch
    from hpcorch.model.keys.launch_keys import LaunchKeys
    from hpcorch.slurm.protocol import SlurmClient

log = logging.getLogger(__name__)

_LISTED_RUNS = 20


class SweepLauncher(Launcher):
    """What both launchers share: one sweep over all launches, planned and frozen before anything runs."""

    backend: Backend
    keys: LaunchKeys

    def __init__(self, **params: Any) -> None:
        from omegaconf import OmegaConf

        self._params: dict[str, Any] = {
            key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for key, value in params.items()
        }
        self._sweep: OpenSweep | None = None
        self._put_back: Callable[[], None] = lambda: None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by the sweeper before its first launch.

        :raises LaunchError: a key is unknown or has a wrong value, the sweep directory cannot be made, or the
            sweeper needs values at once and the keys say to return without them
        """
        from hpcorch.launcher.composing.compose import install_composer
        from hpcorch.launcher.config import knows_all_runs
        from hpcorch.launcher.open_sweep import Launching
        from hpcorch.runtime.program.calling_program import sweep_to_extend
        from hpcorch.runtime.program.task_file import function_name

        self.keys = _keys(self._params)
        function = function_name(task_function)
        ordinal = _next_sweep(function)
        try:
            extends = sweep_to_extend(function, ordinal)
        except HpcorchError as error:
            raise LaunchError(f"hpcorch: {error}") from error
        hydra_context, composer = install_composer(hydra_context, _loader(hydra_context), config)
        self._launching = Launching(
            keys=self.keys,
            backend=self.backend,
            config=config,
            composer=composer,
            task_function=task_function,
            hydra_context=hydra_context,
            ordinal=ordinal,
            extends=extends,
        )
        _check_names(config)
        _check_writable(Path.cwd() / str(config.hydra.sweep.dir))
        if extends is not None:
            from hpcorch.launcher.earlier.extension import keep_multirun

            self._put_back = keep_multirun(Path.cwd() / str(config.hydra.sweep.dir))
        if knows_all_runs(config):
            return
        sweeper = str(config.hydra.sweeper._target_)
        if extends is not None:
            raise LaunchError(
                f"hpcorch: the sweeper {sweeper} chooses runs by results, so that there is no grid to extend:"
                " launch a sweep of its own"
            )
        for key, asked in (("detach", self.keys.detach), ("dry_run", self.keys.dry_run)):
            if asked:
                raise LaunchError(
                    f"hydra.launcher.{key}=true returns before there are results, but the sweeper {sweeper} needs"
                    f" every result to choose the next runs: leave {key} out, and start the program inside tmux or"
                    " an sbatch job if it must survive your session"
                )

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Launch these runs, numbered from ``initial_job_idx``, and return one JobReturn each.

        :raises LaunchError: nothing was launched, or what was launched cannot be followed; the text says which
        """
        try:
            return self._launch(job_overrides, initial_job_idx)
        except HpcorchError as error:
            raise LaunchError(f"hpcorch: {error}") from error

    def _launch(self, job_overrides: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
        from hpcorch.launcher.open_sweep import OpenSweep

        self._put_back()
        client = self.check()
        if self._sweep is None:
            self._sweep = OpenSweep.prepare(self._launching, client)
        launch = self._sweep.plan(job_overrides, first)
        if self._sweep.extended is not None:
            log.info("%s", self._sweep.extended.told(len(launch.frozen.runs)))
            if not launch.frozen.runs:
                return []
        _announce(launch)
        if self.keys.dry_run:
            return self.show(self._sweep, launch)
        return self.execute(self._sweep, self._sweep.record(launch))

    @abstractmethod
    def check(self) -> SlurmClient | None:
        """Refuse what cannot work before anything is composed.

        :return: the cluster that runs will go to, if any
        :raises UsageError: a key is wrong
        :raises SlurmUnavailableError: there is no Slurm here
        """

    @abstractmethod
    def execute(self, sweep: OpenSweep, launch: PlannedLaunch) -> Sequence[JobReturn]:
        """Run what was recorded and return its results."""

    @abstractmethod
    def show(self, sweep: OpenSweep, launch: PlannedLaunch) -> Sequence[JobReturn]:
        """Say what would be done, and return handles to runs that are only planned."""


def _next_sweep(function: str) -> int:
    """How many sweeps of a function this process has begun before. Hydra may execute this module several times."""
    from hpcorch.runtime.program.calling_program import sweeps_begun

    sweeps_begun[function] += 1
    return sweeps_begun[function] - 1


def _keys(params: Mapping[str, Any]) -> LaunchKeys:
    from hpcorch.launcher.config import unknown_key
    from hpcorch.model.keys.launch_keys import LaunchKeys

    if (unknown := unknown_key(params)) is not None:
        raise LaunchError(f"hpcorch: {unknown}")
    try:
        return LaunchKeys.parse(params)
    except HpcorchError as error:
        raise LaunchError(f"hpcorch: {error}") from error


def _loader(context: HydraContext) -> ConfigLoaderImpl:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    loader = context.config_loader
    if not isinstance(loader, ConfigLoaderImpl):
        raise LaunchError(
            f"hpcorch composes with Hydra's own ConfigLoaderImpl, not with {type(loader).__name__}: use the Hydra"
            " that pip installs"
        )
    return loader


def _check_names(config: DictConfig) -> None:
    """Say that a name is too long before Hydra's sweeper and its logging fail with a traceback."""
    from omegaconf import OmegaConf

    from hpcorch.launcher.composing.lengths import check_log_name, check_sweep_directory

    job_logging: Any = OmegaConf.to_container(config.hydra.job_logging) if config.hydra.job_logging else {}
    try:
        check_sweep_directory(Path.cwd() / str(config.hydra.sweep.dir))
        check_log_name(str(config.hydra.job.name), job_logging)
    except HpcorchError as error:
        raise LaunchError(f"hpcorch: {error}") from error


def _check_writable(sweep_dir: Path) -> None:
    """Say it in a sentence, before Hydra's sweeper tries and fails with a traceback."""
    existing = next(folder for folder in (sweep_dir, *sweep_dir.parents) if _exists(folder))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise LaunchError(
            f"hpcorch: the sweep directory {sweep_dir} cannot be made, because {existing} is not a folder that you"
            " may write in: choose another hydra.sweep.dir"
        )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a parent that may not be entered; it is looked at next
        return False


def _announce(launch: PlannedLaunch) -> None:
    """Name the runs as Hydra's own launchers do; of a large sweep only the first."""
    from hpcorch.model.value_text import printable

    runs = launch.frozen.runs
    for run in runs[:_LISTED_RUNS]:
        log.info("\t#%d : %s", run.run, printable(" ".join(run.overrides)))
    if len(runs) > _LISTED_RUNS:
        log.info("\t… and %d more", len(runs) - _LISTED_RUNS)


class SlurmSweepLauncher(SweepLauncher):
    """Runs a launch as one Slurm job array."""

    backend = Backend.SLURM

    def check(self) -> SlurmClient | None:
        from hpcorch.launcher.slurm import check_slurm

        return check_slurm(self.keys)

    def execute(self, sweep: OpenSweep, launch: PlannedLaunch) -> Sequence[JobReturn]:
        from hpcorch.launcher.slurm import execute_on_slurm

        return execute_on_slurm(sweep, launch)

    def show(self, sweep: OpenSweep, launch: PlannedLaunch) -> Sequence[JobReturn]:
        from hpcorch.launcher.slurm import submission_text

        sys.stdout.write(submission_text(sweep, launch))
        return sweep.handles(launch)


class LocalSweepLauncher(SweepLauncher):
    """Runs a launch on this machine."""

    backend = Backend.LOCAL

    def check(self) -> None:
        from hpcorch.services.local.request import check_local

        check_local(self.keys)

    def execute(self, sweep: OpenSweep, launch: PlannedLaunch) -> Sequence[JobReturn]:
        from hpcorch.launcher.local import execute_locally

        return execute_locally(sweep, launch)

    def show(self, sweep: OpenSweep, launch: PlannedLaunch) -> Sequence[JobReturn]:
        from hpcorch.model.value_text import counted

        forked = "" if self.keys.runs_per_task == 1 else ", forked from one process that has started the program"
        sys.stdout.write(f"# {counted(len(launch.due), 'run')} on this machine{forked}; nothing is started\n")
        return sweep.handles(launch)
