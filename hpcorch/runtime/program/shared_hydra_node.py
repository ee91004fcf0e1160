"""Hydra's ``run_job`` without its four copies of the ``hydra`` node, which take most of its time.

It copies that node to hide it from the task and to keep it for :class:`hydra.core.hydra_config.HydraConfig`. A run has
a process of its own and nobody changes the node, which is read-only then: so the copies can share what is in it. What
the task gets is copied as ever.
"""

from __future__ import annotations

from typing import Any, Final

from omegaconf import AnyNode, DictConfig

_HYDRA: Final = "hydra"
# What copy.deepcopy looks for on an object before it takes it apart.
_COPIER: Final = "__deepcopy__"


def share_hydra_node(config: DictConfig) -> None:
    """Have copies of a composed configuration leave that node empty, and copies of the node share its content."""
    node = vars(config)["_content"][_HYDRA]
    vars(node)[_COPIER] = lambda _memo: _twin(node)
    vars(config)[_COPIER] = lambda memo: _without_hydra(config, memo)


def _twin(node: DictConfig) -> DictConfig:
    """Another node with the same content, which can be put elsewhere; the content stays where it is."""
    twin = DictConfig.__new__(DictConfig)
    vars(twin).update(vars(node))
    return twin


def _without_hydra(config: DictConfig, memo: dict[int, Any]) -> DictConfig:
    whole = vars(config)["_content"]
    vars(config)["_content"] = {key: value for key, value in whole.items() if key != _HYDRA}
    try:
        copied: DictConfig = DictConfig.__deepcopy__(config, memo)
    finally:
        vars(config)["_content"] = whole
    vars(copied)["_content"][_HYDRA] = AnyNode(None)  # run_job deletes it
    return copied
