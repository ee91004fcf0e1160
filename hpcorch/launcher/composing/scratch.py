"""One configuration per base on which runs are tried and undone, so that none needs a copy."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING, OmegaConf, StringNode

from hpcorch.errors import UsageError
from hpcorch.launcher.composing.composition import Base, Composition, Parsed, own_keys
from hpcorch.launcher.composing.effects import Effect, disjoint, effect, root_of
from hpcorch.launcher.composing.freezing import Freezer, store
from hpcorch.launcher.composing.interpolation import LATE, Expression, at_submission, expressions, ordered
from hpcorch.model.values import patched
from hpcorch.runtime.program.configuration import (
    IS_HYDRA_1_3,
    as_composed,
    digest,
    override_dirname,
    plain,
    raw,
    rebuild,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from omegaconf import DictConfig, Node

#: Parts of Hydra's node that a run on a compute node does not read, or that differ for each run.
_HYDRA_UNUSED = frozenset(("help", "hydra_help", "hydra_logging", "launcher", "overrides", "runtime", "sweeper"))


class Scratch:
    """A base's configuration, on which runs are tried and undone.

    :param config: the base, which is changed
    :param master: the sweep's configuration
    """

    def __init__(self, base: Base, config: DictConfig, master: DictConfig) -> None:
        self.base = base
        self._config = config
        self._job = raw(config.hydra.job)
        store(self._job["id"], LATE)
        self._written_dirname = raw(self._job["override_dirname"])
        store(self._job["override_dirname"], "")  # each run's own
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
        self._groups: dict[tuple[tuple[str, ...], ...], list[tuple[tuple[str, ...], list[int]]]] = {}
        self._effects: dict[tuple[str, ...], Effect] = {}
        self._own_keys = own_keys(config, master)

    def effects(self, values: Sequence[Parsed]) -> list[Effect]:
        """What ``values`` do to this base, as effects on disjoint subtrees.

        :raises UnprovableError: that cannot be told
        """
        roots = tuple(self._root(item) for item in values)
        groups = self._groups.get(roots)
        if groups is None:
            groups = self._groups[roots] = disjoint(roots)
        return [self._effect(root, [values[i] for i in members]) for root, members in groups]

    def _root(self, item: Parsed) -> tuple[str, ...]:
        known = self._roots.get(item.text)
        if known is None:
            known = self._roots[item.text] = root_of(self._config, item.override)
        return known

    def _effect(self, root: tuple[str, ...], items: list[Parsed]) -> Effect:
        texts = tuple(item.text for item in items)
        known = self._effects.get(texts)
        if known is None:
            known = self._effects[texts] = effect(self._config, root, [item.override for item in items])
        return known

    def compose(
        self, parsed: Sequence[Parsed], effects: Sequence[Effect], job_num: int, master: DictConfig
    ) -> Composition:
        """The run that ``parsed`` describes; ``effects`` are those of its values, none for a base of its own."""
        task = [item for item in parsed if not item.is_hydra]
        dirname = self._dirname(task)
        self._set_job(job_num, dirname, task)
        self._set_cache(master)
        for one in effects:
            one.apply()
        try:
            frozen, output_dir, launcher = self._frozen(self._present(effects, dirname))
            if not IS_HYDRA_1_3 and "${" not in dirname:  # there the node is a call, whose value this is
                frozen["hydra.job.override_dirname"] = dirname
        finally:
            for one in reversed(effects):
                one.undo()
        changes = {one.name: one.plain for one in effects if one.changed}
        changes.update((name, value) for name, value in frozen.items() if not name.startswith("hydra."))
        config = patched(self.base.config, changes)
        return Composition(
            base=self.base,
            job_num=job_num,
            overrides=tuple(item.text for item in task if item.is_value) if effects else (),
            task_overrides=tuple(item.text for item in task),
            override_dirname=dirname,
            frozen=frozen,
            changes=changes,
            config_digest=digest(config),
            output_dir=output_dir,
            params={key: as_composed(key, value, config) for key, value in (item.param for item in task)},
            launcher=launcher,
        )

    def load(self, parsed: Sequence[Parsed], master: DictConfig) -> DictConfig:
        """The run's configuration as Hydra composes it, before a launcher gives it an id and a number."""
        task = [item for item in parsed if not item.is_hydra]
        config = rebuild(
            self.base.pickle,
            overrides=[item.text for item in task if item.is_value],
            task_overrides=[item.text for item in task],
            override_dirname=self._dirname(task) if IS_HYDRA_1_3 else self._written_dirname,
            frozen={},
            job_num=MISSING,
            job_id=MISSING,
        )
        OmegaConf.copy_cache(from_config=master, to_config=config)  # as Hydra does: one timestamp for all runs
        return config

    def _dirname(self, task: Sequence[Parsed]) -> str:
        return override_dirname(self._written_dirname, [item.override for item in task], self._naming)

    def _set_job(self, job_num: int, dirname: str, task: Sequence[Parsed]) -> None:
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

    def _frozen(self, present: Sequence[Expression]) -> tuple[dict[str, Any], str, dict[str, Any]]:
        """What is resolved at submission: values by path, the output directory, the run's own launcher keys."""
        with at_submission(self._config) as lateness:
            freezer = Freezer(lateness)
            try:
                frozen = freezer.freeze(present)
                output = os.path.join(*map(_literal, self._output))  # noqa: PTH118 - as Hydra joins
                return frozen, output, {key: self._launcher_value(key) for key in self._own_keys}
            finally:
                freezer.undo()

    def _launcher_value(self, key: str) -> Any:
        launcher = self._config.hydra.launcher
        if key not in raw(launcher):
            return None
        try:
            value = launcher[key]
            return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else plain(value)
        except Exception as error:
            cause = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UsageError(
                f"hydra.launcher.{key} is {plain(raw(launcher)[key])!r}, and for a run of this sweep that has no"
                f" value at submission ({cause}): give each choice the key that it names"
            ) from error


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
