"""Launchers and sweeper as Hydra's configurations, by the names that a user chooses them by.

Those of launchers are made of :mod:`hpcorch.model.keys.launch_keys`. The keys of hydra-submitit-launcher (1.2 and
1.4-dev) keep their names and meanings, so that changing one word migrates a project. Defaults differ where the old
one costs the user something: standard error goes into the same log (one file a run instead of two), and logs lie
beside the journals unless ``submitit_folder`` says where.

They are OmegaConf's own typed nodes, without a class of ours, so that a job reads them back without this module.

Hydra's plugin scanner imports this module at the start of every Hydra program, so configurations are made, and keys
are imported, once a program chooses one.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from hydra.core.config_store import ConfigStore
from omegaconf import AnyNode, BooleanNode, DictConfig, FloatNode, IntegerNode, ListConfig, StringNode

from hpcorch.runtime.program.configuration import SHORTCUTS_PROVEN
from hpcorch.runtime.run.resolver import register_resolver

if TYPE_CHECKING:
    from hpcorch.model.keys.kinds import Key
    from hpcorch.model.keys.launch_keys import LaunchKeys

#: What ``hydra/sweeper=hpcorch`` instantiates.
OWN_SWEEPER: Final = "hydra_plugins.hpcorch_launcher.Sweeper"
_PLANNING_SWEEPERS = ("hydra._internal.core_plugins.basic_sweeper.BasicSweeper", OWN_SWEEPER)
_NODES: Mapping[str, Any] = {"int": IntegerNode, "float": FloatNode, "str": StringNode, "bool": BooleanNode}


def register() -> None:
    """Make all known to Hydra, and ``${hpcorch:...}`` to OmegaConf. Can be repeated."""
    store = ConfigStore.instance()
    for (kind, name), make in _CONFIGURATIONS.items():
        if f"{name}.yaml" in store.repo.get("hydra", {}).get(kind, {}):
            continue  # Hydra 1.4 warns of a second time
        node = {} if SHORTCUTS_PROVEN else make()
        store.store(group=f"hydra/{kind}", name=name, node=node, provider="hpcorch")
        if SHORTCUTS_PROVEN:
            store.repo["hydra"][kind][f"{name}.yaml"].node = _Unmade(make)
    register_resolver()


class _Unmade:
    """Stands for a configuration until a program chooses it: Hydra copies a node each time it composes."""

    def __init__(self, make: Callable[[], DictConfig]) -> None:
        self._make = make

    def __deepcopy__(self, _memo: dict[int, Any]) -> Any:
        return pickle.loads(_pickled(self._make))  # noqa: S301 - made here; a tenth of the time that a copy takes


@cache
def _pickled(make: Callable[[], DictConfig]) -> bytes:
    return pickle.dumps(make())


def slurm_configuration() -> DictConfig:
    """``hydra/launcher=hpcorch_slurm``; sbatch(1) has the meaning of the values."""
    from hpcorch.model.keys.launch_keys import HEEDED_ON_SLURM, KEYS

    return _configuration("SlurmLauncher", {name: KEYS[name].hydra for name in HEEDED_ON_SLURM})


def local_configuration() -> DictConfig:
    """``hydra/launcher=hpcorch_local``: Slurm's keys, too, so that a project's configuration serves both."""
    from hpcorch.model.keys.launch_keys import HEEDED_LOCALLY, HEEDED_ON_SLURM, KEYS

    return _configuration("LocalLauncher", {name: KEYS[name].local for name in HEEDED_ON_SLURM | HEEDED_LOCALLY})


def sweeper_configuration() -> DictConfig:
    """``hydra/sweeper=hpcorch``, whose keys :mod:`hpcorch.launcher.sweeping.sweep_keys` explains."""
    from hpcorch.launcher.sweeping.sweep_keys import DEFAULTS

    own = {"_target_": OWN_SWEEPER, "_recursive_": False}  # a swept `_target_` is data
    return DictConfig(own | DEFAULTS)


# By kind of plugin and name.
_CONFIGURATIONS: Mapping[tuple[str, str], Callable[[], DictConfig]] = {
    ("launcher", "hpcorch_slurm"): slurm_configuration,
    ("launcher", "hpcorch_local"): local_configuration,
    ("sweeper", "hpcorch"): sweeper_configuration,
}


def _configuration(launcher: str, defaults: Mapping[str, Any]) -> DictConfig:
    from hpcorch.model.keys.launch_keys import KEYS

    target = StringNode(f"hydra_plugins.hpcorch_launcher.{launcher}", is_optional=False)
    nodes = {name: _node(key, defaults[name]) for name, key in KEYS.items() if name in defaults}
    return DictConfig({"_target_": target} | nodes)


def _node(key: Key, default: Any) -> Any:
    from hpcorch.model.keys.kinds import Form

    form = key.kind.form
    if form is Form.TEXTS:
        return ListConfig(default, ref_type=list[str], element_type=str, is_optional=default is None)
    if form is Form.MAPPING:
        return DictConfig(default, ref_type=dict[str, Any], key_type=str, is_optional=default is None)
    if form is Form.ANY:
        return AnyNode(default)
    return _NODES[form.value](default, is_optional=default is None or key.kind.may_be_null)


def unknown_key(params: Iterable[str]) -> str | None:
    """A sentence about a key that no launcher has, if there is one: with ``+``, Hydra accepts any key."""
    from hpcorch.model.keys.launch_keys import HEEDED_LOCALLY, HEEDED_ON_SLURM

    known = HEEDED_ON_SLURM | HEEDED_LOCALLY
    for key in params:
        if key not in known:
            return f"hydra.launcher.{key} is not a key of hpcorch{_cure(key, known)}"
    return None


def _cure(key: str, known: Iterable[str]) -> str:
    from hpcorch.slurm.sbatch.line import OPTIONS

    if key.replace("_", "-") in OPTIONS:
        return f", but a flag of sbatch: +hydra.launcher.additional_parameters.{key}=VALUE sets it"
    import difflib  # rarely needed

    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def ignored_locally(keys: LaunchKeys) -> list[str]:
    """The keys that were set but have no effect on a single machine."""
    from hpcorch.model.keys.launch_keys import HEEDED_LOCALLY, LaunchKeys

    return sorted(keys.changes_since(LaunchKeys()).keys() - HEEDED_LOCALLY)


def knows_all_runs(config: DictConfig) -> bool:
    """Whether the sweeper knows all runs from the start. Others may need results to choose more."""
    return str(config.hydra.sweeper._target_) in _PLANNING_SWEEPERS


def has_batches(config: DictConfig) -> bool:
    """Whether Hydra's own sweepers launch their runs in several launches."""
    return bool(config.hydra.sweeper.get("max_batch_size"))
