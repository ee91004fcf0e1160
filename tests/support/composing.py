"""A sweep over the configurations in ``data/compose``, as Hydra's own sweeper would set it up."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf, UnionNode, open_dict

from hpcorch.launcher.composing.compose import Composer, ComposerLoader, Composition
from hpcorch.runtime.program.configuration import raw, rebuild, register_resolver
from tests.support.composing_schema import register
from tests.support.paths import DATA

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from omegaconf import DictConfig, Node

CONFIGS = DATA / "compose"


class Sweep:
    """A configuration loader, the sweep's own configuration, and a composer over both.

    :param compositions: how often Hydra composed a run in full
    """

    def __init__(self, directory: Path = CONFIGS, overrides: Sequence[str] = ()) -> None:
        self.loader = ConfigLoaderImpl(create_config_search_path(str(directory)))
        self.master = self.loader.load_configuration("config", list(overrides), RunMode.MULTIRUN)
        HydraConfig.instance().set_config(self.master)
        self.composer = Composer(self.loader, self.master)
        self.compositions = 0
        self._full = self.loader.load_sweep_config
        self.loader.load_sweep_config = self._counted

    def _counted(self, *args: Any) -> DictConfig:
        self.compositions += 1
        return self._full(*args)

    def checker(self) -> Sweeper:
        """A sweeper that checks runs of this sweep."""
        return _Checker(ComposerLoader(self.loader, self.composer, self.master), self.master)

    def reference(self, overrides: Sequence[str], job_num: int = 4, job_id: str = "77_4") -> DictConfig:
        """What Hydra's own launchers hand to ``run_job``."""
        config = self._full(self.master, list(overrides))
        with open_dict(config):
            config.hydra.job.id = job_id
            config.hydra.job.num = job_num
        return config


class _Checker(Sweeper):
    def __init__(self, loader: ConfigLoaderImpl, config: DictConfig) -> None:
        self.hydra_context = HydraContext(config_loader=loader, callbacks=Callbacks())
        self.config = config

    def setup(self, **_: Any) -> None:
        """Not called."""

    def sweep(self, arguments: list[str]) -> None:
        """Not called."""


def rebuilt(run: Composition, job_id: str = "77_4") -> DictConfig:
    """The run's configuration as the node makes it."""
    return rebuild(
        run.base.pickle,
        overrides=run.overrides,
        task_overrides=run.task_overrides,
        override_dirname=run.override_dirname,
        frozen=run.frozen,
        job_num=run.job_num,
        job_id=job_id,
    )


@contextmanager
def resolvers() -> Iterator[None]:
    """Hydra's resolvers and the test's: a counter without cache, one with, and a join."""
    counter = itertools.count()
    setup_globals()
    register()
    register_resolver("test.count", lambda: next(counter))
    register_resolver("test.count_cached", lambda _: next(counter), use_cache=True)
    register_resolver("test.join", lambda *parts: "+".join(map(str, parts)))
    hydra = HydraConfig.instance()
    before = hydra.cfg
    try:
        yield
    finally:
        hydra.cfg = before
        for name in ("test.count", "test.count_cached", "test.join"):
            OmegaConf.clear_resolver(name)


def anatomy(node: Node) -> Any:
    """Everything about a node that a task could tell: types, flags, order of keys, values as written."""
    meta = vars(node)["_metadata"]
    types = [meta.ref_type, meta.object_type, meta.optional, dict(meta.flags or {}), meta.key]
    types += [getattr(meta, "key_type", None), getattr(meta, "element_type", None), OmegaConf.is_readonly(node)]
    value = raw(node)
    content: Any = (type(value), repr(value))
    if isinstance(value, dict):
        content = [(key, anatomy(child)) for key, child in value.items()]
    elif isinstance(value, list) and OmegaConf.is_config(node):
        content = [anatomy(child) for child in value]
    elif isinstance(node, UnionNode) and not isinstance(value, (str, type(None))):
        content = anatomy(value)
    return type(node), types, content
