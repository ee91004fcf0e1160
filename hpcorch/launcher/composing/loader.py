"""One composer for the sweep and for Hydra's sweeper, which validates each launch by composing it.

To see whether a launch is legal, a sweeper composes every run of it and throws the result away, before the launcher
composes it again (``hydra.plugins.sweeper.Sweeper.validate_batch_is_legal``): four fifths of a launch's CPU time,
measured. It does so by the loader in Hydra's context, so that is where the shared bases are offered to it.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from hydra._internal.config_loader_impl import ConfigLoaderImpl

from hpcorch.errors import HpcorchError
from hpcorch.launcher.composing.compose import Composer
from hpcorch.runtime.program.hydra_versions import SHORTCUTS_PROVEN

if TYPE_CHECKING:
    from hydra.types import HydraContext
    from omegaconf import DictConfig


class ComposerLoader(ConfigLoaderImpl):
    """Hydra's loader, except that runs of one sweep are composed from shared bases where that is provably equal."""

    def __init__(self, loader: ConfigLoaderImpl, composer: Composer, master_config: DictConfig) -> None:
        super().__init__(loader.get_search_path())
        self.repository = loader.repository
        self._composer = composer
        self._master = master_config

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """As Hydra's, errors included."""
        if master_config is self._master:
            try:
                config = self._composer.load(sweep_overrides)
            except HpcorchError:
                config = None  # legal for Hydra; the launch will say what cannot be frozen
            if config is not None:
                return config
        return super().load_sweep_config(master_config, sweep_overrides)


def install_composer(
    context: HydraContext, loader: ConfigLoaderImpl, master_config: DictConfig
) -> tuple[HydraContext, Composer]:
    """Put a loader into ``context`` that composes runs by a composer of ours.

    :param loader: the one in ``context``
    :return: a context as it was before, for the task, and the composer that sweeper and launcher share
    """
    own = copy.copy(context)
    composer = Composer(loader, master_config)
    # A subclass may compose in ways that we know nothing of.
    if SHORTCUTS_PROVEN and type(loader) is ConfigLoaderImpl:
        context.config_loader = ComposerLoader(loader, composer, master_config)
    return own, composer
