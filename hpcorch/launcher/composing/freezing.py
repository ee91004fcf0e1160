"""Resolve a run's interpolations at submission, once, into values that can be recorded.

Works on a configuration in place, so that what is resolved later finds what was resolved before; the caller
undoes it. Which interpolations are resolved is told in :mod:`hpcorch.launcher.composing.interpolation`.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from omegaconf import EnumNode
from omegaconf.errors import InterpolationToMissingValueError
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser as Grammar

from hpcorch.errors import UsageError
from hpcorch.launcher.composing.interpolation import branches, has_call, is_call
from hpcorch.launcher.composing.resolution import resolved, resolved_part
from hpcorch.model.values import digits
from hpcorch.runtime.program.configuration import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from omegaconf import Node

    from hpcorch.launcher.composing.interpolation import Expression, Lateness

_KEEP: Final = object()
_SCALARS: Final = (type(None), str, bool, int, float, bytes, type(Path()))
_TOO_LONG: Final = 10**4300  # Python reads no integer of more digits, so OmegaConf does not
_SHOWN: Final = 100
_UNITS: Final = (Grammar.PrimitiveContext, Grammar.QuotedValueContext)


class Freezer:
    """Resolves expressions and remembers how to put their texts back.

    :param lateness: from :func:`hpcorch.launcher.composing.interpolation.at_submission`, which must be in force
    """

    def __init__(self, lateness: Lateness) -> None:
        self._lateness = lateness
        self._undo: list[Expression] = []

    def freeze(self, expressions: Iterable[Expression]) -> dict[str, Any]:
        """Plain values by path of what could be resolved.

        :raises UsageError: a resolver fails, or the output directory depends on something late
        """
        frozen: dict[str, Any] = {}
        for expression in expressions:
            value = self._output(expression) if expression.output else self._value(expression)
            if value is not _KEEP:
                self._undo.append(expression)
                store(expression.node, value)
                frozen[expression.name] = plain(value)
        return frozen

    def undo(self) -> None:
        """Put every text back."""
        while self._undo:
            expression = self._undo.pop()
            store(expression.node, expression.text)

    def _output(self, expression: Expression) -> Any:
        value = self._attempt(expression, lambda: resolved(expression))
        if value is _KEEP:
            raise UsageError(
                f"The output directory depends on something that is known only when the run starts: "
                f"{expression.name} is {expression.text!r}. A requeued run must find the same directory; "
                f"use ${{hydra.job.num}} or the swept values instead."
            )
        return escaped(str(value))

    def _value(self, expression: Expression) -> Any:
        if expression.analysis.whole:
            value = self._attempt(expression, lambda: resolved(expression))
            if _has_plain_form(value, expression.node):
                return _escaped_within(value)
        return self._rewritten(expression)

    def _attempt(self, expression: Expression, resolve: Callable[[], Any]) -> Any:
        """The Python value that ``resolve`` gives; ``_KEEP`` if late, missing or failed where it may."""
        self._lateness.seen = False
        try:
            value = resolve()
        except Exception as error:
            missing = isinstance(error, InterpolationToMissingValueError) and not expression.output
            if self._lateness.seen or missing or not expression.required:
                return _KEEP
            cause = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UsageError(
                f"Cannot resolve {expression.text!r} of '{expression.name}' at submission: {cause}. "
                f"Set what it needs, or override '{expression.name}' with a value."
            ) from error
        return _KEEP if self._lateness.seen else value

    def _rewritten(self, expression: Expression) -> Any:
        """The text with every call that can be resolved replaced by its value."""
        edits: list[tuple[int, int, str]] = []

        def visit(context: Any) -> None:
            if (isinstance(context, Grammar.InterpolationContext) and is_call(context)) or (
                isinstance(context, _UNITS) and has_call(context)
            ):
                value = self._attempt(expression, lambda: resolved_part(expression, context))
                if value is not _KEEP:
                    edits.append((context.start.start, context.stop.stop + 1, _spelt(expression, context, value)))
                    return
            for branch in branches(context):
                visit(branch)

        text_context = expression.analysis.tree.getChild(0)
        top = branches(text_context)
        sole = len(top) == 1 and is_call(top[0])
        for context in branches(top[0]) if sole else top:
            visit(context)
        text = expression.text
        for start, stop, literal in sorted(edits, reverse=True):
            text = text[:start] + literal + text[stop:]
        return text if edits else _KEEP


def store(node: Node, value: Any) -> None:
    """Make ``value`` what ``node`` stores, without OmegaConf's checks."""
    state = vars(node)
    state["_content" if "_content" in state else "_val"] = value


def escaped(text: str) -> str:
    """``text`` such that OmegaConf reads it literally."""
    return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + "\\${", text)


def _has_plain_form(value: Any, node: Node) -> bool:
    if value is _KEEP or (isinstance(value, str) and value == "???"):
        return False
    if isinstance(value, list):
        return all(_has_plain_form(item, node) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _has_plain_form(item, node) for key, item in value.items())
    return type(value) in _SCALARS or (isinstance(node, EnumNode) and isinstance(value, Enum))


def _escaped_within(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Enum):
        return escaped(value)
    if isinstance(value, list):
        return [_escaped_within(item) for item in value]
    if isinstance(value, dict):
        return {key: _escaped_within(item) for key, item in value.items()}
    return value


def _spelt(expression: Expression, context: Any, value: Any) -> str:
    """``value`` as OmegaConf's grammar spells it in place of ``context``.

    :raises UsageError: the grammar has no spelling for it there
    """
    spelling = _spelling(expression.text, context, value)
    if spelling is None:
        shown = digits(value)[:_SHOWN] if type(value) is int else repr(value)
        raise UsageError(
            f"Cannot freeze {context.getText()!r} within {expression.text!r} of '{expression.name}': its value "
            f"{shown} cannot be written there. Give {context.getText()!r} a key of its own and refer to that key."
        )
    return spelling


def _spelling(text: str, context: Any, value: Any) -> str | None:
    if isinstance(context, _UNITS):
        return _argument(value)
    parent = context.parentCtx
    if isinstance(parent, (Grammar.ConfigKeyContext, Grammar.ResolverNameContext)):
        return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z_]\w*", value, re.ASCII) else None
    if isinstance(parent, Grammar.TextContext) and isinstance(parent.parentCtx, Grammar.ConfigValueContext):
        literal = digits(value) if type(value) is int else str(value)
        before = text[context.start.start - 1 : context.start.start]
        return None if before in ("\\", "$") or re.search(r"[\\$]|^\{", literal) else literal
    return None


def _argument(value: Any) -> str | None:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if type(value) is float or (type(value) is int and abs(value) < _TOO_LONG):
        return repr(value)
    if type(value) is str and not re.search(r"['\\$]", value):
        return f"'{value}'"
    return None
