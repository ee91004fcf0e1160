"""One run's composed configuration, as values to be recorded: a shared base and what differs from it.

Here are, too, launcher keys that are a run's own, those that depend on swept values or that a swept group sets;
and the way from compositions to what is frozen on disk: seeds, directories, manifest lines.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import field
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from hpcorch.errors import UsageError
from hpcorch.journal.manifest import ManifestBase, ManifestRun
from hpcorch.launcher.composing.interpolation import expressions
from hpcorch.model.seeds import run_seed
from hpcorch.model.values import patched, same
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.program.configuration import plain, raw

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

_TARGET = "_target_"
_GROUP = "hydra/launcher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """One composition by Hydra, shared by all runs that differ from it in values only.

    :param number: its position in :attr:`Composer.bases`
    :param overrides: those that were composed, in order
    :param pickle: the composed configuration, for :func:`hpcorch.runtime.program.configuration.rebuild`
    :param config: its plain task configuration
    :param choices: the configuration chosen for each group
    """

    number: int
    overrides: tuple[str, ...]
    pickle: bytes
    config: Mapping[str, Any]
    choices: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """One run's configuration, as a base and what differs from it; all values but ``base`` are JSON.

    :param overrides: of values, to be applied to the base on the node
    :param task_overrides: all of the run's, as ``hydra.overrides.task`` lists them
    :param override_dirname: Hydra's ``hydra.job.override_dirname``
    :param frozen: what was resolved at submission: plain value by path, Hydra's own node included
    :param changes: ``patched(base.config, changes)`` is the run's plain task configuration
    :param config_digest: ``sha256:<hex>`` of that plain task configuration
    :param output_dir: ``hydra.sweep.dir`` joined with ``hydra.sweep.subdir``, resolved
    :param params: plain value by key of what the sweep sets, as it is composed, group choices included; None for a
        deletion
    :param launcher: the launcher's keys that are the run's own: they depend on its values, or its groups set them
    """

    base: Base
    job_num: int
    overrides: tuple[str, ...]
    task_overrides: tuple[str, ...]
    override_dirname: str
    frozen: Mapping[str, Any]
    changes: Mapping[str, Any]
    config_digest: str
    output_dir: str
    params: Mapping[str, Any]
    launcher: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """One override's text, understood once.

    :param is_value: Hydra applies it to the composed configuration, outside Hydra's own node
    :param is_config: Hydra applies it to the composed configuration, wherever
    """

    text: str
    override: Override
    is_hydra: bool
    is_value: bool
    is_config: bool
    param: tuple[str, Any]


@dataclass(slots=True, kw_only=True)
class Planner:
    """Plans the runs of one sweep, over all of its launches.

    :param cwd: directory that relative output directories start from
    :param seen: digest of a configuration -> how many runs of the sweep have it; it counts those that are planned
    """

    root_seed: int
    cwd: Path
    seen: Counter[str] = field(default_factory=Counter)

    def plan(self, compositions: Iterable[Composition]) -> list[ManifestRun]:
        """The manifest's runs, in order. Each composition is planned once."""
        return [self._run(composition) for composition in compositions]

    def _run(self, composition: Composition) -> ManifestRun:
        digest = composition.config_digest
        occurrence = self.seen[digest]
        self.seen[digest] += 1
        seed = run_seed(
            patched(composition.base.config, composition.changes),
            root_seed=self.root_seed,
            config_digest=digest,
            occurrence=occurrence,
        )
        return ManifestRun(
            run=composition.job_num,
            base=composition.base.number,
            overrides=list(composition.task_overrides),
            params=dict(composition.params),
            changes=dict(composition.changes),
            config_digest=digest,
            seed=seed.value,
            seed_source=seed.source.value,
            directory=os.path.normpath(self.cwd / composition.output_dir),
            launcher=dict(composition.launcher),
            node={
                "overrides": list(composition.overrides),
                "override_dirname": composition.override_dirname,
                "frozen": dict(composition.frozen),
            },
        )


def manifest_bases(bases: Sequence[Base], runs: Iterable[ManifestRun]) -> list[ManifestBase]:
    """The bases that the runs start from, each once.

    :param bases: by number
    """
    return [
        ManifestBase(base=number, config=dict(bases[number].config), pickle=bases[number].pickle)
        for number in sorted({run.base for run in runs})
    ]


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
