"""Which keys of the launcher are a run's own: those that depend on swept values, or that a swept group sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from hpcorch.errors import UsageError
from hpcorch.launcher.composing.interpolation import expressions
from hpcorch.model.values import same
from hpcorch.runtime.program.configuration import plain, raw

if TYPE_CHECKING:
    from omegaconf import DictConfig

_TARGET = "_target_"
_GROUP = "hydra/launcher"


def own_keys(config: DictConfig, master: DictConfig) -> tuple[str, ...]:
    """The keys of the launcher whose values may differ from run to run, or from those of the sweep.

    :param config: what runs are composed from, ``hydra`` included
    :param master: the sweep's configuration
    """
    launcher = config.hydra.launcher
    return tuple(dict.fromkeys((*_named_outside(launcher), *_changed(launcher, master.hydra.launcher))))


def check_launcher(config: DictConfig, master: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse runs that choose another launcher than the one that launches them.

    :param overrides: that ``config`` was composed with
    :raises UsageError: they do
    """
    if config.hydra.launcher.get(_TARGET) == master.hydra.launcher.get(_TARGET):
        return
    chosen, launching = (one.hydra.runtime.choices.get(_GROUP) for one in (config, master))
    raise UsageError(
        f"{' '.join(overrides)} chooses {_GROUP}={chosen}, but {launching} launches all runs of this sweep: leave"
        f" the override of {_GROUP} out of what is swept, or launch these runs by themselves with {_GROUP}={chosen}"
    )


def _named_outside(launcher: DictConfig) -> Iterator[str]:
    """The keys that name something outside Hydra's own node."""
    for expression in expressions(launcher, ("hydra", "launcher")):
        if expression.analysis.calls or any(target[:1] != ("hydra",) for target in expression.targets()):
            yield str(expression.path[2])


def _changed(launcher: DictConfig, master: DictConfig) -> Iterator[str]:
    for key in dict.fromkeys((*launcher, *master)):
        if key != _TARGET and not same(_value(launcher, key), _value(master, key)):
            yield str(key)


def _value(launcher: DictConfig, key: Any) -> Any:
    """A key's plain value; the text of one that cannot be resolved."""
    node = raw(launcher).get(key)
    if node is None:
        return None
    try:
        value = launcher[key]
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else plain(value)
    except Exception:  # noqa: BLE001 - whatever a resolver raises: the run says it, if the key is its own
        return plain(node)
