"""``hydra/sweeper=hpcorch``: Hydra's basic sweeper, whose runs need not be one product.

Hydra's plugin scanner imports this module at the start of every Hydra program, so everything heavy is imported
inside the methods.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from hpcorch.errors import HpcorchError
from hpcorch.launcher.errors import LaunchError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

log = logging.getLogger(__name__)


class GridSweeper(BasicSweeper):
    """Launches the runs that its keys make of the command line, all at once or ``max_batch_size`` at a time.

    :raises LaunchError: a key is unknown or of the wrong kind
    """

    def __init__(self, **keys: Any) -> None:
        from omegaconf import OmegaConf

        from hpcorch.launcher.sweeping.sweep_keys import SweepKeys

        given: dict[str, Any] = {
            key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for key, value in keys.items()
        }
        super().__init__(given.get("max_batch_size"), given.get("params"))
        try:
            self._keys = SweepKeys.parse(given)
        except HpcorchError as error:
            raise LaunchError(f"hpcorch: {error}") from error

    def split_arguments(  # type: ignore[override] # a static method there, but it is called by the instance
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """The runs of each launch.

        :raises LaunchError: no run can be made of this
        :raises hydra.errors.HydraException: an override cannot be enumerated
        """
        from hydra.core.override_parser.overrides_parser import OverridesParser

        from hpcorch.launcher.sweeping.expansion import expand
        from hpcorch.model.counts import counted

        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        try:
            expansion = expand(overrides, self._keys, parser, Path.cwd())
        except HpcorchError as error:
            raise LaunchError(f"hpcorch: {error}") from error
        for count, why in ((expansion.excluded, "excluded"), (expansion.repeated, "there before")):
            if count:
                log.info("%s left out: %s", counted(count, "run"), why)
        return list(self.split_overrides_to_chunks(list(expansion.runs), max_batch_size))
