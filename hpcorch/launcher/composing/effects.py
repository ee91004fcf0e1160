"""What overrides of values do to a composed configuration: one subtree each, found once, by Hydra's own code.

Hydra applies such overrides to the composed configuration one after the other. Where an override neither
follows nor resolves an interpolation, what it does depends on the subtree that it changes and on nothing else,
so overrides of disjoint subtrees can be tried one at a time and their results put side by side. Overrides whose
subtrees overlap are applied together, in order. Everything else is :class:`UnprovableError`.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, ListConfig, Node, OmegaConf

from hpcorch.launcher.composing.interpolation import Expression, expressions
from hpcorch.model.values import ABSENT, join_path, plain_key, same
from hpcorch.runtime.program.configuration import plain, raw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hydra.core.override_parser.types import Override

_KEY: Final = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)*", re.ASCII)

Path = tuple[str, ...]


class UnprovableError(Exception):
    """The fast way cannot be shown to equal Hydra's composition, so the slow way must be taken."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Effect:
    """One subtree after some overrides.

    :param path: its keys from the root
    :param name: the same as one string
    :param siblings: the mapping of nodes that it stands in
    :param order: the keys of ``siblings``, as the base has them
    :param before: the base's subtree, or None if it has none
    :param node: the subtree, or None if it is gone
    :param plain: its plain form, or ``ABSENT``
    :param changed: the plain form differs from the base's
    :param expressions: the interpolations in it
    """

    path: Path
    name: str
    siblings: dict[Any, Node]
    order: tuple[Any, ...]
    before: Node | None
    node: Node | None
    plain: Any
    changed: bool
    expressions: tuple[Expression, ...]

    def covers(self, expression: Expression) -> bool:
        """Whether the base's ``expression`` lies in the subtree that this effect replaces."""
        return expression.path[: len(self.path)] == self.path

    def apply(self) -> None:
        """Put the subtree in its place."""
        if self.node is None:
            del self.siblings[self.path[-1]]
        else:
            self.siblings[self.path[-1]] = self.node

    def undo(self) -> None:
        """Put the base's subtree back; effects are undone in the reverse order of their application."""
        _put_back(self.siblings, self.path[-1], self.before, self.order)


def disjoint(roots: Sequence[Path]) -> list[tuple[Path, list[int]]]:
    """Group positions in ``roots`` so that subtrees of different groups do not overlap; in order throughout."""
    groups: list[tuple[Path, list[int]]] = []
    for position, root in sorted(enumerate(roots), key=lambda item: len(item[1])):
        for outer, members in groups:
            if root[: len(outer)] == outer:
                members.append(position)
                break
        else:
            groups.append((root, [position]))
    for _, members in groups:
        members.sort()
    return sorted(groups, key=lambda group: group[1])


def root_of(config: DictConfig, override: Override) -> Path:
    """The path of the subtree of ``config`` outside of which ``override`` changes and reads nothing.

    :raises UnprovableError: it may follow or resolve an interpolation, or its key is unusual
    """
    if not _KEY.fullmatch(override.key_or_group) or override.package is not None:
        raise UnprovableError(override.input_line)
    keys = tuple(override.key_or_group.split("."))
    node: Node = config
    for depth, key in enumerate(keys, start=1):
        content = raw(node)
        if not isinstance(node, DictConfig) or not isinstance(content, dict) or not _has_text_keys(node):
            if depth == 1:
                raise UnprovableError(override.input_line)
            _require_no_interpolation(node, override)
            return keys[: depth - 1]
        if key not in content:
            return keys[:depth]
        node = content[key]
    if not _reads_no_interpolation(override, node):
        _require_no_interpolation(node, override)
    return keys


def _has_text_keys(node: DictConfig) -> bool:
    """Whether a key stands for itself: OmegaConf 2.4 takes the text of one for another that is a number."""
    return vars(node)["_metadata"].key_type in (Any, str) and all(type(key) is str for key in raw(node))


def _reads_no_interpolation(override: Override, node: Node) -> bool:
    """Whether what the override does to ``node`` is the same whatever the interpolations there stand for."""
    value = override.value()
    if isinstance(node, (DictConfig, ListConfig)):
        if OmegaConf.is_interpolation(node) or "${" in (override.input_line or ""):
            return False
        if override.is_delete():
            return override.value_type is None  # a value is compared with what is there
        return isinstance(value, dict) and _merges_blindly(value, node)
    return not (override.is_delete() or override.is_add() or isinstance(value, (dict, list)))


def _merges_blindly(value: dict[Any, Any], node: Node) -> bool:
    """Whether merging ``value`` meets no interpolation; OmegaConf follows only those that it merges into."""
    content = raw(node)
    if not isinstance(node, DictConfig) or not isinstance(content, dict) or not _has_text_keys(node):
        return False
    for key, part in value.items():
        child = content.get(key)
        if child is None:
            continue
        if OmegaConf.is_interpolation(child):
            return False
        nested = isinstance(child, (DictConfig, ListConfig))
        if nested and not (isinstance(part, dict) and _merges_blindly(part, child)):
            return False
    return True


def _require_no_interpolation(node: Node, override: Override) -> None:
    merges = isinstance(node, (DictConfig, ListConfig)) and "${" in (override.input_line or "")
    if merges or next(expressions(node, ()), None) is not None:
        raise UnprovableError(override.input_line)


def effect(config: DictConfig, path: Path, overrides: Sequence[Override]) -> Effect:
    """What ``overrides``, applied in order, make of the subtree at ``path``; ``config`` is left as it was.

    :raises UnprovableError: they depend on each other's interpolations, or Hydra refuses them
    """
    if len(overrides) > 1 and any(one.is_delete() or "${" in (one.input_line or "") for one in overrides):
        raise UnprovableError(path)
    siblings, last = _siblings(config, path), path[-1]
    order = tuple(siblings)
    before = siblings.get(last)
    try:
        if before is not None:
            siblings[last] = copy.deepcopy(before)
        ConfigLoaderImpl._apply_overrides_to_config(list(overrides), config)  # noqa: SLF001 - Hydra's own way
        after = siblings.get(last)
    except Exception as error:
        raise UnprovableError(path) from error
    finally:
        _put_back(siblings, last, before, order)
    result = ABSENT if after is None else plain(after)
    return Effect(
        path=path,
        name=join_path([plain_key(key) for key in path]),
        siblings=siblings,
        order=order,
        before=before,
        node=after,
        plain=result,
        changed=before is None or after is None or not same(result, plain(before)),
        expressions=() if after is None else tuple(expressions(after, path)),
    )


def _siblings(config: DictConfig, path: Path) -> dict[Any, Node]:
    node: Node = config
    for key in path[:-1]:
        node = raw(node)[key]
    siblings: dict[Any, Node] = raw(node)
    return siblings


def _put_back(siblings: dict[Any, Node], key: str, node: Node | None, order: tuple[Any, ...]) -> None:
    if node is None:
        siblings.pop(key, None)
    elif key in siblings:
        siblings[key] = node
    else:
        siblings[key] = node
        for other in order:  # the order of keys is visible to resolvers
            if other in siblings:
                siblings[other] = siblings.pop(other)
