"""The values that a sweep is prepared from when its sweeper begins to launch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpcorch.model.backends import Backend

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from hpcorch.launcher.composing.compose import Composer

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launching:
    """One invocation of a launcher.

    :param params: the launcher's keys as they were given
    :param config: of the sweeper's own composition, ``hydra`` included
    """

    params: Mapping[str, Any]
    backend: Backend
    config: DictConfig
    composer: Composer
    task_function: TaskFunction
    hydra_context: HydraContext
