"""Compose the configurations of a sweep's runs: Hydra once per combination of groups, values by hand.

Hydra takes tens of milliseconds for one composition, most of it the same for all runs of a sweep. Here Hydra
composes one *base* for each combination of overrides that select configurations; what overrides of values do to
a base is tried once per override, by Hydra's own code (:mod:`hpcorch.launcher.effects`), and put together per run.
A run for which equality with Hydra cannot be shown becomes a base of its own: slower, never different.
"""

from __future__ import annotations

import os
import pickle
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cloudpickle
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.defaults_list import Overrides
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf, StringNode

from hpcorch.errors import UsageError
from hpcorch.launcher.effects import Effect, UnprovableError, disjoint, effect, root_of
from hpcorch.launcher.freezing import Freezer, store
from hpcorch.launcher.interpolation import (
    LATE,
    Expression,
    at_submission,
    expressions,
    ordered,
)
from hpcorch.runtime.configuration import digest, patched, plain, raw, task_plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig, Node

#: Parts of Hydra's node that a run on a compute node does not read, or that differ for each run.
_HYDRA_UNUSED = frozenset(("help", "hydra_help", "hydra_logging", "launcher", "overrides", "runtime", "sweeper"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """One composition by Hydra, shared by all runs that differ from it in values only.

    :param number: its position in :attr:`Composer.bases`
    :param overrides: those that were composed, in order
    :param pickle: the composed configuration, for :func:`hpcorch.runtime.configuration.rebuild`
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
    :param params: plain value by key of what the sweep sets, group choices included; None for a deletion
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parsed:
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


class Composer:
    """Composes runs of one sweep. Not safe for threads, as Hydra is not.

    :param config_loader: the one in Hydra's context
    :param master_config: the sweep's configuration, as handed to ``Launcher.setup``
    """

    def __init__(self, config_loader: ConfigLoaderImpl, master_config: DictConfig) -> None:
        self._loader = config_loader
        self._master = master_config
        self._parser = OverridesParser.create(config_loader=config_loader)
        _, self._repository = config_loader._parse_overrides_and_create_caching_repo(  # noqa: SLF001
            master_config.hydra.job.config_name, list(master_config.hydra.overrides.hydra)
        )
        self._parsed: dict[str, _Parsed] = {}
        self._shared: dict[tuple[str, ...], _Scratch] = {}
        self._bases: list[Base] = []

    @property
    def bases(self) -> Sequence[Base]:
        """Every base made so far; compositions refer to them."""
        return self._bases

    def compose(self, overrides: Sequence[str], job_num: int) -> Composition:
        """The configuration of the run ``job_num``, equal to ``load_sweep_config(master, overrides)``.

        :raises hydra.errors.HydraException: Hydra cannot compose it; its own error
        :raises hpcorch.errors.UsageError: an interpolation cannot be resolved at submission, the output
            directory depends on something late, or the configuration cannot be pickled
        """
        parsed = [self._understand(text) for text in overrides]
        if _is_orderly(parsed):
            selecting = tuple(item.text for item in parsed if not item.is_value)
            scratch = self._shared.get(selecting)
            if scratch is None:
                scratch = self._shared[selecting] = self._scratch(selecting)
            try:
                effects = scratch.effects([item for item in parsed if item.is_value])
            except UnprovableError:
                pass
            else:
                return scratch.compose(parsed, effects, job_num, self._master)
        return self._scratch(tuple(overrides)).compose(parsed, (), job_num, self._master)

    def _scratch(self, overrides: tuple[str, ...]) -> _Scratch:
        config = self._loader.load_sweep_config(self._master, list(overrides))
        base = Base(
            number=len(self._bases),
            overrides=overrides,
            pickle=_pickled(config),
            config=task_plain(config),
            choices=plain(config.hydra.runtime.choices),
        )
        self._bases.append(base)
        return _Scratch(base, config)

    def _understand(self, text: str) -> _Parsed:
        known = self._parsed.get(text)
        if known is None:
            (override,) = self._parser.parse_overrides([text])
            known = self._parsed[text] = self._classified(text, override)
        return known

    def _classified(self, text: str, override: Override) -> _Parsed:
        is_config = self._is_config(override)
        is_hydra = override.is_hydra_override()
        key = override.get_key_element().lstrip("+")
        return _Parsed(
            text=text,
            override=override,
            is_hydra=is_hydra,
            is_config=is_config,
            is_value=is_config and not is_hydra and override.key_or_group != "hydra",
            param=(key, None if override.is_sweep_override() else plain(override.value())),
        )

    def _is_config(self, override: Override) -> bool:
        if override.is_sweep_override():
            return False
        try:
            return bool(Overrides(self._repository, [override]).config_overrides)
        except (ConfigCompositionException, ValueError):
            return False  # Hydra refuses it; it shall do so when it composes


def _is_orderly(parsed: Sequence[_Parsed]) -> bool:
    """Whether overrides of values come after all others that Hydra applies to the composed configuration."""
    values_began = False
    for item in parsed:
        values_began = values_began or item.is_value
        if values_began and item.is_config and not item.is_value:
            return False
    return True


class _Scratch:
    """A base's configuration, on which runs are tried and undone."""

    def __init__(self, base: Base, config: DictConfig) -> None:
        self.base = base
        self._config = config
        self._job = raw(config.hydra.job)
        store(self._job["id"], LATE)
        store(raw(config.hydra.runtime)["output_dir"], LATE)
        self._task_overrides = raw(config.hydra.overrides)["task"]
        naming = config.hydra.job.config.override_dirname
        self._naming = {name: plain(raw(naming)[name]) for name in ("kv_sep", "item_sep", "exclude_keys")}
        self._expressions = tuple(_expressions(config))
        self._ordered = ordered(self._expressions)
        sweep = raw(config.hydra.sweep)
        self._output = (sweep["dir"], sweep["subdir"])
        self._text_nodes: dict[tuple[int, str], StringNode] = {}
        self._roots: dict[str, tuple[str, ...]] = {}
        self._effects: dict[tuple[str, ...], Effect] = {}

    def effects(self, values: Sequence[_Parsed]) -> list[Effect]:
        """What ``values`` do to this base, as effects on disjoint subtrees.

        :raises UnprovableError: that cannot be told
        """
        roots = [self._root(item) for item in values]
        return [self._effect(root, [values[i] for i in members]) for root, members in disjoint(roots)]

    def _root(self, item: _Parsed) -> tuple[str, ...]:
        known = self._roots.get(item.text)
        if known is None:
            known = self._roots[item.text] = root_of(self._config, item.override)
        return known

    def _effect(self, root: tuple[str, ...], items: list[_Parsed]) -> Effect:
        texts = tuple(item.text for item in items)
        known = self._effects.get(texts)
        if known is None:
            known = self._effects[texts] = effect(self._config, root, [item.override for item in items])
        return known

    def compose(
        self, parsed: Sequence[_Parsed], effects: Sequence[Effect], job_num: int, master: DictConfig
    ) -> Composition:
        """The run that ``parsed`` describes; ``effects`` are those of its values, none for a base of its own."""
        task = [item for item in parsed if not item.is_hydra]
        dirname = get_overrides_dirname(overrides=[item.override for item in task], **self._naming)
        self._set_job(job_num, dirname, task)
        self._set_cache(master)
        for one in effects:
            one.apply()
        try:
            frozen, output_dir = self._frozen(self._present(effects, dirname))
        finally:
            for one in reversed(effects):
                one.undo()
        changes = {one.name: one.plain for one in effects if one.changed}
        changes.update((name, value) for name, value in frozen.items() if not name.startswith("hydra."))
        return Composition(
            base=self.base,
            job_num=job_num,
            overrides=tuple(item.text for item in task if item.is_value) if effects else (),
            task_overrides=tuple(item.text for item in task),
            override_dirname=dirname,
            frozen=frozen,
            changes=changes,
            config_digest=digest(patched(self.base.config, changes)),
            output_dir=output_dir,
            params=dict(item.param for item in task),
        )

    def _set_job(self, job_num: int, dirname: str, task: Sequence[_Parsed]) -> None:
        store(self._job["num"], job_num)
        store(self._job["override_dirname"], dirname)
        store(self._task_overrides, [self._text_node(i, item.text) for i, item in enumerate(task)])

    def _text_node(self, index: int, text: str) -> StringNode:
        known = self._text_nodes.get((index, text))
        if known is None:
            known = StringNode(text, key=index, parent=self._task_overrides, is_optional=False)
            self._text_nodes[index, text] = known
        return known

    def _set_cache(self, master: DictConfig) -> None:
        """Start from what the sweep has resolved already, as Hydra does: one timestamp for all runs."""
        cache = {name: dict(results) for name, results in OmegaConf.get_cache(master).items()}
        vars(self._config)["_metadata"].resolver_cache = defaultdict(dict, cache)

    def _present(self, effects: Sequence[Effect], dirname: str) -> list[Expression]:
        """The run's expressions to resolve, in order."""
        added = [expression for one in effects for expression in one.expressions]
        if "${" in dirname:
            node, path = self._job["override_dirname"], ("hydra", "job", "override_dirname")
            added.extend(expressions(node, path, required=False))
        known = self._expressions if added else self._ordered
        kept = [expression for expression in known if not any(one.covers(expression) for one in effects)]
        return ordered(kept + added) if added else kept

    def _frozen(self, present: Sequence[Expression]) -> tuple[dict[str, Any], str]:
        with at_submission(self._config) as lateness:
            freezer = Freezer(lateness)
            try:
                frozen = freezer.freeze(present)
                return frozen, os.path.join(*map(_literal, self._output))  # noqa: PTH118 - as Hydra joins
            finally:
                freezer.undo()


def _literal(node: Node) -> str:
    """A resolved node's text; it has an interpolation only as an escape."""
    text = str(raw(node))
    return str(OmegaConf.create([text])[0]) if "${" in text else text


def _expressions(config: DictConfig) -> Iterator[Expression]:
    for key, node in raw(config).items():
        if key != "hydra":
            yield from expressions(node, (key,))
    for key, node in raw(config.hydra).items():
        if key not in _HYDRA_UNUSED:
            yield from expressions(node, ("hydra", key), required=False)


def _pickled(config: DictConfig) -> bytes:
    """Classes go by reference, so that the task meets its own; by value only where they have no address."""
    try:
        return pickle.dumps(config, protocol=4)
    except (pickle.PicklingError, AttributeError, TypeError):
        pass
    try:
        by_value: bytes = cloudpickle.dumps(config, protocol=4)
    except Exception as error:
        raise UsageError(
            f"The composed configuration cannot be pickled: {error}. Keep objects that cannot be copied to "
            f"another process out of the configuration and out of cached resolvers."
        ) from error
    return by_value
