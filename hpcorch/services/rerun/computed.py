"""Which values of a configuration were computed from others that are changed.

The resolvers that computed them are the program's, which is not executed here. So both configurations are resolved
with resolvers that say no more than what they were asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from hpcorch.model.values import split_path

if TYPE_CHECKING:
    from omegaconf import DictConfig

CALL = re.compile(r"\$\{\s*([A-Za-z_][\w.]*)\s*:")
"""The beginning of a resolver's call."""


def differing(before: DictConfig, after: DictConfig, paths: Sequence[str]) -> list[str]:
    """Of the nodes at some paths, those that resolve to something else in the second configuration."""
    was, now = _resolved(before, paths), _resolved(after, paths)
    return [path for path in paths if was[path] != now[path]]


def _resolved(config: DictConfig, paths: Sequence[str]) -> dict[str, str]:
    """What nodes resolve to if resolvers say only what they were asked; an error's text where they cannot."""
    from hpcorch.runtime.program.configuration import child, plain

    def value(path: str) -> str:
        *parents, last = split_path(path)
        at: Any = config
        try:
            for key in parents:
                _, at = child(at, key)
            name, _ = child(at, last)
            return repr(plain(at[name]))
        except Exception as error:  # noqa: BLE001 - of any kind; the same on both sides where nothing depends on it
            return f"{type(error).__name__}: {error}"

    with _plain_resolvers(config):
        return {path: value(path) for path in paths}


@contextmanager
def _plain_resolvers(config: DictConfig) -> Iterator[None]:
    from omegaconf import OmegaConf
    from omegaconf.basecontainer import BaseContainer

    from hpcorch.runtime.program.configuration import plain, register_resolver

    resolvers = vars(BaseContainer)["_resolvers"]
    known = dict(resolvers)
    called = set(CALL.findall(repr(plain(config))))
    try:
        for name in called:
            if not name.startswith("oc."):
                register_resolver(name, partial(_asked, name), replace=True)
        register_resolver("hydra", lambda path: OmegaConf.select(config.hydra, path), replace=True)
        yield
    finally:
        resolvers.clear()
        resolvers.update(known)


def _asked(name: str, *arguments: Any) -> str:
    return f"{name}{arguments!r}"
