"""Making launchers and sweeper known to Hydra by the names that a user chooses them by.

Hydra's plugin scanner imports this module at the start of every Hydra program, so configurations are made once a
program chooses one.
"""

from __future__ import annotations

import pickle
from functools import cache
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore

from hpcorch.runtime.program.configuration import SHORTCUTS_PROVEN
from hpcorch.runtime.run.resolver import register_resolver

if TYPE_CHECKING:
    from omegaconf import DictConfig

# By kind of plugin and name: the function of hpcorch.launcher.config that makes its configuration.
_CONFIGURATIONS = {
    ("launcher", "hpcorch_slurm"): "slurm_configuration",
    ("launcher", "hpcorch_local"): "local_configuration",
    ("sweeper", "hpcorch"): "sweeper_configuration",
}


def register() -> None:
    """Make all known to Hydra, and ``${hpcorch:...}`` to OmegaConf. Can be repeated."""
    store = ConfigStore.instance()
    for (kind, name), function in _CONFIGURATIONS.items():
        if f"{name}.yaml" in store.repo.get("hydra", {}).get(kind, {}):
            continue  # Hydra 1.4 warns of a second time
        node = {} if SHORTCUTS_PROVEN else _configuration(function)
        store.store(group=f"hydra/{kind}", name=name, node=node, provider="hpcorch")
        if SHORTCUTS_PROVEN:
            store.repo["hydra"][kind][f"{name}.yaml"].node = _Keys(function)
    register_resolver()


class _Keys:
    """Stands for a configuration until a program chooses it: Hydra copies a node each time it composes."""

    def __init__(self, function: str) -> None:
        self._function = function

    def __deepcopy__(self, _memo: dict[int, Any]) -> Any:
        return pickle.loads(_pickled(self._function))  # noqa: S301 - made here; a tenth of the time that a copy takes


@cache
def _pickled(function: str) -> bytes:
    return pickle.dumps(_configuration(function))


def _configuration(function: str) -> DictConfig:
    from hpcorch.launcher import config

    made: DictConfig = getattr(config, function)()
    return made
