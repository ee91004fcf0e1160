"""Resolve one expression's text to a Python value, as OmegaConf does, without reading the text again.

OmegaConf parses a text and walks the parse tree at each access. Most texts are plain text, references and
calls whose arguments are literals: those are taken apart once (:func:`steps`) and then only put together.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from omegaconf import MISSING, AnyNode, Container, Node, OmegaConf, ValueNode
from omegaconf.grammar_visitor import GrammarVisitor

from hpcorch.launcher.composing.interpolation import analyse
from hpcorch.runtime.program.configuration import SHORTCUTS_PROVEN, raw

if TYPE_CHECKING:
    from hpcorch.launcher.composing.interpolation import Expression

_ABSOLUTE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_LITERALS: Final = (str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class Call:
    """A resolver call; ``texts`` are its arguments as written, by which OmegaConf caches."""

    name: str
    arguments: tuple[Any, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """The key of a node, as written."""

    key: str


@lru_cache(maxsize=16384)
def steps(text: str) -> tuple[str | Call | Reference, ...] | None:
    """``text`` as literal pieces, calls and references in turn; None if it is more than that."""
    found: list[Call | Reference] = []

    def mark(step: Call | Reference) -> str:
        found.append(step)
        return f"\0{len(found) - 1}\0"

    def on_call(name: str, args: tuple[Any, ...], args_str: tuple[str, ...]) -> str:
        return mark(Call(name, args, args_str))

    visitor = GrammarVisitor(lambda key, _: mark(Reference(key)), on_call, memo=None)  # type: ignore[arg-type, return-value]
    try:
        marked = visitor.visit(analyse(text).tree)
    except Exception:  # noqa: BLE001 - OmegaConf itself will say what is wrong, where it matters
        return None
    if "\0" in text or not all(_is_simple(step) for step in found):
        return None
    pieces = re.split("\0([0-9]+)\0", marked)
    return tuple(found[int(piece)] if odd % 2 else piece for odd, piece in enumerate(pieces) if odd % 2 or piece)


def _is_simple(step: Call | Reference) -> bool:
    """Whether no other step is nested in it, and nothing in it could be changed by a resolver."""
    texts = (step.key,) if isinstance(step, Reference) else (step.name, *step.arguments)
    return all(type(text) in _LITERALS and not (isinstance(text, str) and "\0" in text) for text in texts)


def resolved(expression: Expression) -> Any:
    """The value of the whole expression, of the type that its node declares.

    :raises Exception: whatever a resolver raises, or OmegaConf's own errors
    """
    taken_apart = steps(expression.text) if SHORTCUTS_PROVEN else None
    if taken_apart is None:
        value = resolved_part(expression, expression.analysis.tree)
    elif len(taken_apart) == 1:
        value = _python(_taken(expression, taken_apart[0]))
    else:
        value = "".join(str(_taken(expression, step)) for step in taken_apart)
    node = expression.node
    if isinstance(node, ValueNode) and not isinstance(node, AnyNode):
        return node.validate_and_convert(value)
    if isinstance(node, Container) and node._has_ref_type():  # noqa: SLF001 - no public way to ask
        copy.deepcopy(node)._set_value(value)  # noqa: SLF001 - raises if the type is wrong, as OmegaConf 2.4 does
    return value


def resolved_part(expression: Expression, context: Any) -> Any:
    """The value of a part of the expression's parse tree; raises as :func:`resolved` does."""
    node = expression.node
    value = _parent(node).resolve_parse_tree(context, node=node, key=expression.path[-1], memo=set())
    return _python(value)


def _taken(expression: Expression, step: str | Call | Reference) -> Any:
    if isinstance(step, str):
        return step
    parent = _parent(expression.node)
    if isinstance(step, Reference):
        found = _plain_node(expression.node, step.key)
        if found is not None:
            return found
        return parent._resolve_node_interpolation(step.key, memo=set())  # noqa: SLF001 - no public access by tree
    return parent._evaluate_custom_resolver(  # noqa: SLF001 - likewise
        key=expression.path[-1],
        node=expression.node,
        inter_type=step.name,
        inter_args=step.arguments,
        inter_args_str=step.texts,
    )


def _plain_node(node: Node, key: str) -> Node | None:
    """The node of an absolute key, if no interpolation is on the way to it, and it has one plain value."""
    if not _ABSOLUTE.fullmatch(key):
        return None
    found: Any = node._get_root()  # noqa: SLF001 - no public way up
    for name in key.split("."):
        content = raw(found)
        if not isinstance(content, dict) or name not in content:
            return None
        found = content[name]
    value = raw(found)
    is_text = type(value) is str and "${" not in value and value != MISSING
    return found if is_text or type(value) in (int, float, bool) else None


def _parent(node: Node) -> Container:
    parent = node._get_parent_container()  # noqa: SLF001 - OmegaConf offers no other way up
    assert parent is not None
    return parent


def _python(value: Any) -> Any:
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=True)
    return raw(value) if isinstance(value, Node) else value
