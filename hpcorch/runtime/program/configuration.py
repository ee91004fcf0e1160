"""A run's configuration on the node, and the plain form that is hashed.

The login side pickles one composed configuration per combination of config groups, a *base*; a run is a base
plus overrides of values. :func:`rebuild` applies them with Hydra's own code, so the task gets the very nodes
that Hydra would have made, whatever has happened to the YAML files meanwhile.

The plain form of values, interpolations unresolved, is in :mod:`hpcorch.model.values`.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import hydra
from omegaconf import DictConfig, ListConfig, Node, OmegaConf, flag_override, open_dict

from hpcorch.model.values import from_plain, plain_key, plain_scalar, split_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override
    from omegaconf import Container

#: Hydra 1.4, and OmegaConf 2.4, which it needs, have other ways for some things.
IS_HYDRA_1_3: Final = hydra.__version__.startswith("1.3.")
#: Whether our shortcuts through Hydra and OmegaConf are shown to equal them: only then may they be taken.
SHORTCUTS_PROVEN: Final = IS_HYDRA_1_3 or hydra.__version__.startswith("1.4.0")

#: What OmegaConf 2.3 calls new is deprecated in 2.4, whose ``register_resolver`` is another function in 2.3.
register_resolver: Final[Callable[..., None]] = (
    OmegaConf.register_new_resolver if IS_HYDRA_1_3 else OmegaConf.register_resolver
)


def override_dirname(written: Any, overrides: Sequence[Override], naming: Mapping[str, Any]) -> str:
    """What a run's ``hydra.job.override_dirname`` is, interpolations unresolved.

    Hydra 1.3 stores the name when it composes; from 1.4 on the node is a call that makes it when it is read, for
    which it parses all overrides again.

    :param written: the node's value in the composed configuration
    :param overrides: all of the run's but those of Hydra's own node
    :param naming: ``hydra.job.config.override_dirname``
    """
    if IS_HYDRA_1_3:
        from hydra._internal.config_loader_impl import get_overrides_dirname

        return get_overrides_dirname(overrides=list(overrides), **naming)
    lines = sorted(str(one.input_line) for one in overrides if one.key_or_group not in naming["exclude_keys"])
    is_usual = written == "${hydra_override_dirname:}" and all(
        type(naming[key]) is str for key in ("kv_sep", "item_sep")
    )
    if not is_usual or any("${" in part for part in (*lines, naming["kv_sep"], naming["item_sep"])):
        return str(written)
    return str(naming["item_sep"].join(line.replace("=", naming["kv_sep"]) for line in lines))


def raw(node: Node) -> Any:
    """What ``node`` stores, interpolations unresolved: a dict or list of nodes, or a value."""
    state = vars(node)
    return state["_content"] if "_content" in state else state["_val"]


def plain(node: Any) -> Any:
    """The plain form of a configuration node or a Python value."""
    value = node
    while isinstance(value, Node):  # a union's node wraps another
        value = raw(value)
    if isinstance(value, dict):
        return {plain_key(key): plain(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(child) for child in value]
    return plain_scalar(value)


def canonical(value: Any) -> str:
    """The canonical JSON of a plain form: sorted keys, no white space, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """``sha256:<hex>`` of a plain form's canonical JSON."""
    return f"sha256:{hashlib.sha256(canonical(value).encode('ascii')).hexdigest()}"


def task_plain(config: DictConfig) -> dict[str, Any]:
    """The plain form of a composed configuration without its ``hydra`` node."""
    content = raw(config)
    return {plain_key(key): plain(child) for key, child in content.items() if key != "hydra"}


def as_composed(key: str, value: Any, config: Mapping[str, Any]) -> Any:
    """The plain value that a parameter has in a run: a declared type may have made another of what was typed.

    :param key: of an override, such as ``model.layers.0``
    :param value: the override's, in plain form; what is not one value, or has an interpolation, stays as typed
    :param config: the run's plain configuration
    """
    found: Any = config
    for name in key.split("."):
        if isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            return value
    return found if _is_one_value(value) and _is_one_value(found) else value


def _is_one_value(plain: Any) -> bool:
    if isinstance(plain, str):
        return "${" not in plain
    if isinstance(plain, dict):
        return len(plain) == 1 and not isinstance(from_plain(plain), dict)
    return not isinstance(plain, list)


def rebuild(
    base: bytes,
    *,
    overrides: Sequence[str],
    task_overrides: Sequence[str],
    override_dirname: str,
    frozen: Mapping[str, Any],
    job_num: int,
    job_id: str,
) -> DictConfig:
    """The configuration of one run, equal to what Hydra composes up to the frozen values.

    :param base: a base's pickle
    :param overrides: the run's overrides of values, in the order given
    :param task_overrides: all its overrides as Hydra lists them in ``hydra.overrides.task``
    :param frozen: plain values by path, as resolved at submission
    :raises hydra.errors.HydraException: an override does not apply; the login side has ruled this out
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    config = _loaded.pop(base, None) or _load(base)
    parsed = _parser().parse_overrides(list(overrides))
    ConfigLoaderImpl._apply_overrides_to_config(parsed, config)  # noqa: SLF001 - equality with Hydra is the point
    with open_dict(config.hydra):
        config.hydra.overrides.task = list(task_overrides)
        config.hydra.job.override_dirname = override_dirname
        config.hydra.job.num = job_num
        config.hydra.job.id = job_id
    for path, value in frozen.items():
        fix(config, path, value)
    return config


# Bases that are loaded already, each for one use: rebuilding changes them.
_loaded: dict[bytes, DictConfig] = {}


def load_ahead(base: bytes) -> None:
    """Load a base that a process which is forked from this one rebuilds a configuration from."""
    _loaded[base] = _load(base)


def _load(base: bytes) -> DictConfig:
    config: DictConfig = pickle.loads(base)  # noqa: S301 - our own, from a verified manifest
    return config


@cache
def _parser() -> OverridesParser:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def fix(config: DictConfig, path: str, value: Any) -> None:
    """Put a frozen plain ``value`` at ``path``, keeping the node's declared type and flags.

    :raises KeyError: ``config`` has no such path
    """
    *parents, last = split_path(path)
    parent: Container = config
    for key in parents:
        _, parent = child(parent, key)
    name, node = child(parent, last)
    with flag_override(parent, ["struct", "readonly"], [False, False]):
        if isinstance(parent, (DictConfig, ListConfig)):
            parent[name] = from_plain(value)
        else:  # OmegaConf 2.4 has tuples, which take no items
            node._set_value(from_plain(value))  # noqa: SLF001 - no public way in


def child(parent: Container, key: str) -> tuple[Any, Any]:
    """The key and the node that a plain ``key`` stands for.

    :raises KeyError: ``parent`` has none
    """
    content = raw(parent)
    if isinstance(content, list):
        return int(key), content[int(key)]
    for name, node in content.items():
        if plain_key(name) == key:
            return name, node
    raise KeyError(key)
