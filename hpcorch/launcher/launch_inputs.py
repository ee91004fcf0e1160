"""The values that a sweep is prepared from when its sweeper begins to launch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcorch.model.states import Backend

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from hpcorch.launcher.composing.compose import Composer
    from hpcorch.model.keys.launch_keys import LaunchKeys

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launching:
    """One invocation of a launcher.

    :param keys: the launcher's, as they were given
    :param ordinal: which of this process's sweeps of that function it is, from 0
    :param config: of the sweeper's own composition, ``hydra`` included
    """

    keys: LaunchKeys
    backend: Backend
    config: DictConfig
    composer: Composer
    task_function: TaskFunction
    hydra_context: HydraContext
    ordinal: int = 0
