"""The keys of launchers and sweeper as Hydra's configurations.

Those of launchers are made of :mod:`hpcorch.model.keys.launch_keys`. The keys of hydra-submitit-launcher (1.2 and
1.4-dev) keep their names and meanings, so that changing one word migrates a project. Defaults differ where the old
one costs the user something: standard error goes into the same log (one file a run instead of two), and logs lie
beside the journals unless ``submitit_folder`` says where.

They are OmegaConf's own typed nodes, without a class of ours, so that a job reads them back without this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from omegaconf import AnyNode, BooleanNode, DictConfig, FloatNode, IntegerNode, ListConfig, StringNode

from hpcorch.launcher.sweeping.sweep_keys import DEFAULTS as SWEEPER_DEFAULTS
from hpcorch.model.keys.fields import Heeds, Key
from hpcorch.model.keys.kinds import Form
from hpcorch.model.keys.launch_keys import KEYS, LaunchKeys, names

_NODES: dict[Form, Any] = {
    Form.WHOLE: IntegerNode,
    Form.NUMBER: FloatNode,
    Form.TEXT: StringNode,
    Form.FLAG: BooleanNode,
}
HEEDED_LOCALLY = names(Heeds.LAUNCH | Heeds.POOL)
HEEDED_ON_SLURM = names(Heeds.LAUNCH | Heeds.SLURM | Heeds.SBATCH)

#: What ``hydra/sweeper=hpcorch`` instantiates.
OWN_SWEEPER: Final = "hydra_plugins.hpcorch_launcher.Sweeper"


def slurm_configuration() -> DictConfig:
    """``hydra/launcher=hpcorch_slurm``; sbatch(1) has the meaning of the values."""
    return _configuration("SlurmLauncher", {name: KEYS[name].hydra for name in HEEDED_ON_SLURM})


def local_configuration() -> DictConfig:
    """``hydra/launcher=hpcorch_local``: Slurm's keys, too, so that a project's configuration serves both."""
    return _configuration("LocalLauncher", {name: KEYS[name].local for name in HEEDED_ON_SLURM | HEEDED_LOCALLY})


def sweeper_configuration() -> DictConfig:
    """``hydra/sweeper=hpcorch``, whose keys :mod:`hpcorch.launcher.sweeping.sweep_keys` explains."""
    own = {"_target_": OWN_SWEEPER, "_recursive_": False}  # a swept `_target_` is data
    return DictConfig(own | SWEEPER_DEFAULTS)


def _configuration(launcher: str, defaults: dict[str, Any]) -> DictConfig:
    target = StringNode(f"hydra_plugins.hpcorch_launcher.{launcher}", is_optional=False)
    nodes = {name: _node(key, defaults[name]) for name, key in KEYS.items() if name in defaults}
    return DictConfig({"_target_": target} | nodes)


def _node(key: Key, default: Any) -> Any:
    form = key.kind.form
    if form is Form.TEXTS:
        return ListConfig(default, ref_type=list[str], element_type=str, is_optional=default is None)
    if form is Form.MAPPING:
        return DictConfig(default, ref_type=dict[str, Any], key_type=str, is_optional=default is None)
    if form is Form.ANY:
        return AnyNode(default)
    return _NODES[form](default, is_optional=default is None or key.kind.may_be_null)


def unknown_key(params: Iterable[str]) -> str | None:
    """A sentence about a key that no launcher has, if there is one: with ``+``, Hydra accepts any key."""
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
    return sorted(keys.changes_since(LaunchKeys()).keys() - HEEDED_LOCALLY)
