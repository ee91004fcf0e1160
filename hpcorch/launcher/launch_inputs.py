"""The values that a sweep is prepared from when its sweeper begins to launch."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hydra.core.singleton import Singleton

from hpcorch.launcher.config import OWN_SWEEPER
from hpcorch.model.states import Backend, Entry
from hpcorch.runtime.program.calling_program import NotRepeatableError, find_invocation, interpreter_options
from hpcorch.runtime.program.task_file import Task

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from hpcorch.launcher.composing.compose import Composer
    from hpcorch.model.keys.launch_keys import LaunchKeys

log = logging.getLogger(__name__)

_PLANNING_SWEEPERS = ("hydra._internal.core_plugins.basic_sweeper.BasicSweeper", OWN_SWEEPER)


def knows_all_runs(config: DictConfig) -> bool:
    """Whether the sweeper knows all runs from the start. Others may need results to choose more."""
    return str(config.hydra.sweeper._target_) in _PLANNING_SWEEPERS


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

    def own_keys(self) -> LaunchKeys:
        """The keys with the options of this interpreter, unless others are asked for."""
        keys = self.keys
        return keys if keys.python_options is not None else replace(keys, python_options=interpreter_options())

    def task(self) -> Task:
        """What jobs execute: the program that called Hydra, unless it cannot be executed again or is not to be."""
        problem, invocation = None, None
        if self.keys.entry == Entry.FUNCTION:
            problem = "hydra.launcher.entry=function asks for it"
        else:
            try:
                invocation = find_invocation(self.task_function, ordinal=self.ordinal)
            except NotRepeatableError as error:
                problem = str(error)
                log.info("Jobs get the function alone, as a pickle, since %s", problem)
        return Task(
            function=self.task_function,
            hydra_context=self.hydra_context,
            singletons=Singleton.get_state(),
            invocation=invocation,
            problem=problem,
        )
