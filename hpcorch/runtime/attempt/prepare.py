"""What every rank does before the program begins: find the run, and compare with what was frozen."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hpcorch.errors import DriftError, UnavailableError
from hpcorch.journal.manifest import FrozenRun, ManifestHeader
from hpcorch.model.drift import Aspect
from hpcorch.model.events import AttemptVerified
from hpcorch.model.states import Entry
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.attempt.lifecycle import refusal
from hpcorch.runtime.context.drift import DriftLog, Recorder
from hpcorch.runtime.context.place import Place
from hpcorch.runtime.program.execution import execute_program, job_argv
from hpcorch.runtime.program.frozen_imports import FrozenFinder
from hpcorch.runtime.program.snapshot import Snapshot, have_snapshot
from hpcorch.runtime.program.task_file import TaskFile, enter_hydra, load_function, read_task

if TYPE_CHECKING:
    from types import ModuleType

    from omegaconf import DictConfig

    from hpcorch.runtime.attempt.environment import ComparedEnvironment


@dataclass(slots=True, kw_only=True)
class Prepared:
    """A run whose code and environment are verified, ready for the program to begin.

    :param finder: what imports from the snapshot
    :param snapshot: the code that is imported, in use as long as this is kept; None if there is none
    :param environment: of this process; None if none was frozen
    """

    frozen: FrozenRun
    task: TaskFile
    drift: DriftLog
    finder: FrozenFinder | None = None
    snapshot: Snapshot | None = None
    environment: ComparedEnvironment | None = None
    _looked_at: tuple[int, str] = (0, "")  # how many modules there were, and the last of them
    _called: tuple[Callable[[Any], Any], Any] | None = None  # by the program: the function, and Hydra's context

    @property
    def verified(self) -> AttemptVerified:
        """What the run was compared with."""
        return AttemptVerified(
            config_digest=self.frozen.run.config_digest,
            task_digest=self.frozen.header.task_digest,
            code_digest=None if self.snapshot is None else self.snapshot.place.digest,
            entry=(Entry.FUNCTION if self.task.invocation is None else Entry.PROGRAM).value,
            entry_problem=self.task.problem,
            fingerprint=None if self.environment is None else self.environment.fingerprint,
        )

    def execute(self, run: Callable[[Callable[[Any], Any]], NoReturn]) -> NoReturn:
        """Execute the program up to its call of the function, and there the run; or the function that was sent.

        :param run: takes the function, and leaves by an exception
        :raises BaseException: what the program raises, and what ``run`` leaves by
        """
        overrides = self.frozen.run.overrides
        if self._called is not None:
            self._show_arguments(overrides)
            run(self._called[0])
        if self.task.invocation is None:
            from hpcorch.runtime.program.main_module import enter_main

            function = load_function(self.task)
            if (main := self.task.main) is not None:
                function = enter_main(main, function, job_argv(main.argv, range(1, len(main.argv)), overrides))
            run(function)
        execute_program(self.task.invocation, overrides, self.finder, run)

    def _show_arguments(self, overrides: Sequence[str]) -> None:
        """Give ``sys.argv`` the values of a run, where the program has begun with those of another."""
        if (begun := self.task.invocation) is not None:
            sys.argv[:] = job_argv(begun.argv, begun.given, overrides)
        elif (main := self.task.main) is not None:
            sys.argv[:] = job_argv(main.argv, range(1, len(main.argv)), overrides)

    def called(self, function: Callable[[Any], Any]) -> None:
        """From now on a run begins where the program has called its function, in processes that are forked there.

        What each of them needs is done once: Hydra's state, and the first use of its parser, which is slow.

        :raises DriftError: a module that was imported is not what was frozen
        """
        from omegaconf import OmegaConf

        from hpcorch.runtime.program.call import config_digest, rebuilt
        from hpcorch.runtime.program.configuration import load_ahead
        from hpcorch.runtime.run.resolver import register_resolver

        self._called = (function, enter_hydra(self.task))
        register_resolver()
        config_digest(rebuilt(self.frozen, job_id=""))
        load_ahead(self.frozen.base.pickle)
        OmegaConf.select(OmegaConf.create({}), "")  # Hydra does, and imports a module for it
        self.look(late=False)

    def configure(self, place: Place) -> tuple[Any, Any]:
        """Enter Hydra's state and compose: the context and the DictConfig that Hydra's ``run_job`` takes.

        To be called when the program has defined its classes, of which configurations may be.

        :raises DriftError: the configuration, or a module that is imported, is not what was frozen
        """
        from hpcorch.runtime.program.call import without_files
        from hpcorch.runtime.run.resolver import register_resolver

        if self._called is None:
            hydra_context = enter_hydra(self.task)
            register_resolver()
        else:
            hydra_context = self._called[1]
        config = _config(self.frozen, place, self.drift)
        if self.frozen.header.compact or place.rank != 0:
            without_files(config)
        self.look(late=False)
        return hydra_context, config

    def look(self, *, late: bool) -> None:
        """Record which modules imported so far differ from what was frozen.

        :param late: the task is over
        :raises DriftError: it is not over, and the policy is to refuse
        """
        if self.snapshot is not None:
            self.snapshot.take_reports()
        if modules := self._unseen_modules():
            self._look_at(modules, late=late)
            self._looked_at = (len(sys.modules), next(reversed(sys.modules)))
        self.drift.settle()

    def _unseen_modules(self) -> dict[str, ModuleType]:
        """Modules to be looked at; all of them if there is any new one.

        In a process that was forked only the new ones: all others are memory that it shares, and were looked at
        before. Modules are added at the end.
        """
        count, last = self._looked_at
        if (len(sys.modules), next(reversed(sys.modules))) == self._looked_at:
            return {}
        later = list(islice(reversed(sys.modules), max(0, len(sys.modules) - count + 1)))
        if self._called is None or not later or later[-1] != last:
            return dict(sys.modules)
        return {name: sys.modules[name] for name in later[:-1]}

    def _look_at(self, modules: Mapping[str, ModuleType], *, late: bool) -> None:
        if self.snapshot is not None:
            self.snapshot.look(modules, late=late)
        if self.environment is not None:
            from hpcorch.runtime.attempt.environment import look_for_altered_files

            look_for_altered_files(self.drift, self.environment.installed, modules, late=late)


def prepare(place: Place, frozen: FrozenRun, environ: Mapping[str, str], record: Recorder) -> Prepared:
    """Load and verify all that a run needs.

    :param environ: the variables that the run is offered
    :param record: writes what is found into the attempt's journal
    :raises DriftError: the task, its code or its configuration is not what was submitted
    """
    header = frozen.header
    # Exported before the user's modules are imported: they may read the seed at import time.
    os.environ.update(environ)
    os.chdir(header.cwd)
    task = _task_file(place, header, record)
    drift = DriftLog(policies=header.drift, record=record)
    snapshot = None if header.code is None else have_snapshot(header.code, drift, os.environ)
    environment = _compared_environment(frozen, place, drift, task)
    finder = None if snapshot is None else snapshot.enter(task.sys_path, Path.cwd())
    if finder is None:
        sys.path[:] = [*task.sys_path, *(entry for entry in sys.path if entry not in task.sys_path)]
    return Prepared(
        frozen=frozen, task=task, drift=drift, finder=finder, snapshot=snapshot, environment=environment
    )


def _task_file(place: Place, header: ManifestHeader, record: Recorder) -> TaskFile:
    path = place.layout.task(place.launch)
    try:
        task = read_task(path, header.task_digest)
    except DriftError as error:
        record(refusal(Aspect.CODE, "task file", error))
        raise
    except OSError as error:
        raise UnavailableError(f"the task file {path} cannot be read ({error.strerror})") from error
    if not place.layout.moves:
        return task
    from hpcorch.runtime.program.relocation import relocated_task  # few are moved

    return relocated_task(task, place.layout.moves)


def _compared_environment(
    frozen: FrozenRun, place: Place, drift: DriftLog, task: TaskFile
) -> ComparedEnvironment | None:
    if frozen.header.environment is None:
        return None
    from hpcorch.runtime.attempt.environment import compare_environment

    compared = compare_environment(frozen.header.environment, place, drift, task.sys_path)
    drift.settle()
    return compared


def _config(frozen: FrozenRun, place: Place, drift: DriftLog) -> DictConfig:
    from hpcorch.runtime.program.call import config_digest, differing, rebuilt

    config = rebuilt(frozen, job_id=place.hydra_job_id)
    found = config_digest(config)
    if found != frozen.run.config_digest:
        drift.found(
            Aspect.CONFIGURATION,
            "composed configuration",
            before=frozen.run.config_digest,
            after=found,
            sentence=differing(frozen, found),
        )
        drift.settle()
    return config
