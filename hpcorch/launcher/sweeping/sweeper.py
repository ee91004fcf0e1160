"""``hydra/sweeper=hpcorch``: Hydra's basic sweeper, whose runs need not be one product.

Hydra's plugin scanner imports this module at the start of every Hydra program, so everything heavy is imported
inside the methods.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.errors import HydraException

from hpcorch.errors import HpcorchError
from hpcorch.launcher.errors import LaunchError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

#: What says how Hydra makes the sweeper, and is no key of it.
_OF_HYDRA = ("_target_", "_recursive_", "_convert_")


class GridSweeper(BasicSweeper):
    """Launches the runs that its keys make of the command line, all at once or ``max_batch_size`` at a time."""

    def __init__(self, **_resolved: Any) -> None:
        super().__init__(None)  # Hydra has resolved what each run shall resolve: setup() has the keys as written

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before the sweep.

        :raises LaunchError: a key is unknown or of the wrong kind
        """
        from omegaconf.errors import OmegaConfBaseException

        from hpcorch.launcher.sweeping.choices import texts_of
        from hpcorch.launcher.sweeping.sweep_keys import SweepKeys

        given = config.hydra.sweeper
        try:
            self._keys = SweepKeys.parse({key: _written(given[key]) for key in given if key not in _OF_HYDRA})
            self._params = texts_of(self._keys.params)
        except OmegaConfBaseException as error:
            reason, _, _ = str(error).partition("\n")
            raise LaunchError(f"hpcorch: hydra.sweeper: {reason}") from None  # Hydra would say it twice
        except HpcorchError as error:
            raise LaunchError(f"hpcorch: {error}") from error
        self.max_batch_size = self._keys.max_batch_size
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def _parse_config(self) -> list[str]:
        return self._params

    def split_arguments(  # type: ignore[override] # a static method there, but it is called by the instance
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """The runs of each launch.

        :raises LaunchError: no run can be made of this
        """
        from hydra.core.override_parser.overrides_parser import OverridesParser

        from hpcorch.launcher.sweeping.expansion import expand
        from hpcorch.model.value_text import counted

        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        try:
            expansion = expand(overrides, self._keys, parser, Path.cwd())
        except (HpcorchError, HydraException) as error:
            raise LaunchError(f"hpcorch: {error}") from error
        if self._keys.exclude:  # none is worth a line, too: a condition may be misspelt
            log.info("%s left out: excluded", counted(expansion.excluded, "run"))
        if expansion.repeated:
            log.info("%s left out: there before", counted(expansion.repeated, "run"))
        return list(self.split_overrides_to_chunks(list(expansion.runs), max_batch_size))


def _written(value: Any) -> Any:
    """A key's value in Python, in which the interpolations of overrides are left to the runs."""
    from omegaconf import OmegaConf

    if OmegaConf.is_list(value):
        return [_written(item) for item in value]
    return OmegaConf.to_container(value, resolve=False) if OmegaConf.is_config(value) else value
