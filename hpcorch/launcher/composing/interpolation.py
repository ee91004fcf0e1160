"""Interpolations at submission: which stay, which are resolved once, and what they resolve to.

A *reference* stays as written, because the node finds the same thing behind it: ``${a.b}``,
``${hydra:...}`` and OmegaConf's own resolvers that only look into the configuration. A *late* call stays,
because only the node knows: ``${hpcorch:...}``, and ``oc.env`` of ``SLURM_*``, ``CUDA_*`` and ``TMPDIR``. Every
other resolver call (``now``, ``oc.env``, the user's own) is *frozen*: called once per run, its result
recorded. Called with something late as argument it stays too, and what can be frozen within it is. So does
a call that meets a missing value (``???``), and one whose result has no plain form (an object).

``hydra.job.id`` and ``hydra.runtime.output_dir`` are late wherever they are met; ``hydra.job.num`` is known.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from hydra.core.hydra_config import HydraConfig
from omegaconf import Node, OmegaConf, UnionNode
from omegaconf.basecontainer import BaseContainer
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser as Grammar
from omegaconf.grammar_parser import parse

from hpcorch.model.values import join_path, plain_key
from hpcorch.runtime.program.configuration import raw

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from omegaconf import DictConfig

#: Stands, at submission, where only the node knows the value; resolving it marks what asked as late.
LATE: Final = "${hpcorch:late}"

#: The two nodes that make up a run's output directory in a sweep.
OUTPUT: Final = ("hydra.sweep.dir", "hydra.sweep.subdir")

_REFERENCES: Final = frozenset(
    ("hydra", "hpcorch", "oc.create", "oc.decode", "oc.deprecated", "oc.dict.keys", "oc.dict.values", "oc.select")
)
_LATE_ENV: Final = re.compile(r"SLURM_.*|CUDA_.*|TMPDIR", re.DOTALL)


class NotYetKnownError(Exception):
    """A value was requested that only the node knows."""


class Lateness:
    """Whether anything late was asked for; a flag, since a resolver may swallow the exception."""

    def __init__(self) -> None:
        self.seen = False

    def late(self, *_: Any) -> Any:
        """The resolver of everything late."""
        self.seen = True
        raise NotYetKnownError("known only when the run starts")


@contextmanager
def at_submission(config: DictConfig) -> Iterator[Lateness]:
    """Resolvers behave as at submission inside this block: late ones raise, ``hydra`` reads ``config``.

    Not safe for threads: OmegaConf's resolvers and Hydra's configuration are global.
    """
    lateness = Lateness()
    resolvers = vars(BaseContainer)["_resolvers"]
    env, own = resolvers["oc.env"], resolvers.get("hpcorch")

    def oc_env(root: Any, parent: Any, node: Any, args: tuple[Any, ...], texts: tuple[str, ...]) -> Any:
        if args and isinstance(args[0], str) and _LATE_ENV.fullmatch(args[0]):
            return lateness.late()
        return env(root, parent, node, args, texts)

    resolvers.update({"oc.env": oc_env, "hpcorch": lateness.late})
    hydra = HydraConfig.instance()
    outer, hydra.cfg = hydra.cfg, config  # type: ignore[assignment]
    try:
        yield lateness
    finally:
        hydra.cfg = outer
        resolvers["oc.env"] = env
        if own is None:
            del resolvers["hpcorch"]
        else:
            resolvers["hpcorch"] = own


@dataclass(frozen=True, slots=True)
class Analysis:
    """What a text with interpolations contains, as far as the text alone tells.

    :param tree: its parse tree
    :param calls: resolver calls to be frozen occur in it
    :param whole: it consists of such calls and plain text only
    :param references: keys of the nodes it names, as written (leading dots are relative)
    """

    tree: Any
    calls: bool
    whole: bool
    references: tuple[str, ...]


@lru_cache(maxsize=16384)
def analyse(text: str) -> Analysis:
    """Parse ``text``; parsing is the slow part of resolving, so each text is parsed once."""
    tree = parse(text)
    top = [child for child in tree.getChild(0).getChildren() if isinstance(child, Grammar.InterpolationContext)]
    return Analysis(
        tree=tree,
        calls=has_call(tree),
        whole=all(is_call(child) for child in top),
        references=tuple(_references(tree)),
    )


def branches(context: Any) -> list[Any]:
    """The parts of a parse tree; none for a token."""
    return getattr(context, "children", None) or []


def is_call(interpolation: Any) -> bool:
    """Whether an interpolation's parse tree is a resolver call to be frozen."""
    call = interpolation.getChild(0)
    if not isinstance(call, Grammar.InterpolationResolverContext):
        return False
    return call.getChild(1).getText() not in _REFERENCES


def has_call(context: Any) -> bool:
    """Whether a resolver call to be frozen occurs in a parse tree."""
    if isinstance(context, Grammar.InterpolationContext) and is_call(context):
        return True
    return any(has_call(child) for child in branches(context))


def _references(context: Any) -> Iterator[str]:
    text = context.getText()
    if isinstance(context, Grammar.InterpolationNodeContext):
        yield text[2:-1].strip()
    elif isinstance(context, Grammar.InterpolationResolverContext):
        name, _, arguments = text[2:-1].partition(":")
        first = arguments.split(",")[0].strip().strip("'\"")
        if name == "hydra":
            yield f"hydra.{first}"
        elif name in _REFERENCES:
            yield first
    for child in branches(context):
        yield from _references(child)


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A node whose text has interpolations.

    :param path: its keys from the root, indices of lists as strings
    :param name: the same as one string
    :param required: a failure to resolve it is the user's to know; elsewhere it stays as written
    :param output: it is part of the output directory, so nothing in it may be late
    """

    path: tuple[Any, ...]
    name: str
    node: Node
    text: str
    analysis: Analysis
    required: bool
    output: bool

    def targets(self) -> Iterator[tuple[str, ...]]:
        """Paths of the nodes that it names."""
        for reference in self.analysis.references:
            relative = len(reference) - len(reference.lstrip("."))
            base = self.path[: len(self.path) - relative] if relative else ()
            keys = [key for key in re.split(r"[.\[\]]+", reference) if key]
            yield (*map(str, base), *keys)


def expressions(node: Node, path: tuple[Any, ...], *, required: bool = True) -> Iterator[Expression]:
    """All nodes with interpolations in the tree under ``node``."""
    value = raw(node)
    if isinstance(value, str):
        if "${" in value and OmegaConf.is_interpolation(node):
            name = join_path([plain_key(key) for key in path])
            output = name in OUTPUT
            yield Expression(path, name, node, value, analyse(value), required or output, output)
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from expressions(child, (*path, key), required=required)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from expressions(child, (*path, str(index)), required=required)
    elif isinstance(node, UnionNode) and isinstance(value, Node):
        yield from expressions(value, path, required=required)


def ordered(present: Iterable[Expression]) -> list[Expression]:
    """The expressions to be resolved, each after those that it names, directly or through references.

    So a value that two places use is drawn once: what names it finds it already resolved.
    """
    pool = list(present)
    done: set[int] = set()
    result: list[Expression] = []

    def visit(expression: Expression) -> None:
        if id(expression) in done:
            return
        done.add(id(expression))
        for target in expression.targets():
            for other in pool:
                if _overlap(tuple(map(str, other.path)), target):
                    visit(other)
        if expression.analysis.calls or expression.output:
            result.append(expression)

    for expression in pool:
        visit(expression)
    return result


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]
