"""Variables that a program draws from a clock or from chance: a time stamp, an id, a random name.

Under plain Hydra one process runs a whole sweep, so all runs share such a value. Each job executes the program
anew and would draw another, so it gets the value that the launching program had. What depends on where a program
runs, such as the number of CPUs or a device, stays the job's own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time, timedelta, tzinfo
from pathlib import PurePath
from types import FunctionType, ModuleType
from typing import Any
from uuid import UUID

_PLAIN = (int, float, complex, str, bytes, bool, type(None), date, time, timedelta, tzinfo, PurePath, UUID)
_OF_PYTHON = (
    "builtins",
    "datetime",
    "pathlib",
    "uuid",
    "zoneinfo",
)  # read without the program's modules
_DEPTH, _ITEMS = 8, 1000  # deeper and larger values are data
# Modules whose functions draw, and those of which some do.
_DRAWING = ("time", "uuid", "random", "secrets", "numpy.random", "numpy.random.mtrand")
_DRAWING_OF = {
    "datetime": ("now", "utcnow", "today"),
    "os": ("urandom", "getrandom", "getpid"),
    "posix": ("urandom", "getrandom", "getpid"),
}


def drawn_values(source: bytes, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a module that its top level assigns from something drawn, with plain values alone.

    :param namespace: the module's variables
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # written with a syntax of its own, by an import hook
        return {}
    drawing = {name for name, value in namespace.items() if _draws(value, namespace, set())}
    found: set[str] = set()
    for names, value in _assignments(tree.body):
        if _is_drawn(value, namespace, found | drawing):
            found |= names
        else:
            found -= names
    return {name: namespace[name] for name in sorted(found) if name in namespace and _is_plain(namespace[name])}


def still_drawn(drawn: Mapping[str, Any], before: bytes, now: bytes) -> dict[str, Any]:
    """Those of a module's drawn variables that it still assigns in the same way.

    :param before: the module's source when they were drawn
    :param now: its source now
    """
    was, found = _written(before, drawn), _written(now, drawn)
    return {name: value for name, value in drawn.items() if was.get(name) == found.get(name)}


def _written(source: bytes, names: Iterable[str]) -> dict[str, list[str]]:
    """How a module assigns variables: the expressions, and the functions and variables that these name."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return {}
    defined = {one.name: ast.dump(one) for one in body if isinstance(one, (ast.FunctionDef, ast.ClassDef))}
    assigned = list(_assignments(body))
    for stored, value in assigned:
        defined.update(dict.fromkeys(stored, ast.dump(value)))
    return {
        name: [
            text
            for stored, value in assigned
            if name in stored
            for text in (
                ast.dump(value),
                *(defined.get(node.id, "") for node in ast.walk(value) if isinstance(node, ast.Name)),
            )
        ]
        for name in names
    }


def _assignments(body: list[ast.stmt]) -> Iterator[tuple[set[str], ast.expr]]:
    """The assignments at the top level in their order, also those under ``if``, ``try`` and ``with``."""
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            yield {name for target in targets for name in _stored(target)}, statement.value
        for block in ("body", "orelse", "finalbody"):
            yield from _assignments(getattr(statement, block, []))
        for handler in getattr(statement, "handlers", []):
            yield from _assignments(handler.body)


def _stored(target: ast.expr) -> Iterator[str]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _is_drawn(value: ast.expr, namespace: Mapping[str, Any], drawn: set[str]) -> bool:
    for node in ast.walk(value):
        if isinstance(node, ast.Name) and node.id in drawn:
            return True
        if isinstance(node, ast.Call) and _is_drawing_function(_evaluated(node.func, namespace)):
            return True
    return False


def _evaluated(expression: ast.expr, namespace: Mapping[str, Any]) -> Any:
    """What a name, or attributes of one, stand for; None if that cannot be told without executing anything."""
    if isinstance(expression, ast.Name):
        return namespace.get(expression.id)
    if isinstance(expression, ast.Attribute):
        owner = _evaluated(expression.value, namespace)
        return getattr(owner, expression.attr, None) if isinstance(owner, (ModuleType, type)) else None
    return None


def _is_drawing_function(function: Any) -> bool:
    if not callable(function):
        return False
    if isinstance(function, type):  # a class such as datetime only makes a value of what it is given
        return False
    owner = getattr(function, "__self__", None)
    if isinstance(owner, ModuleType):
        owner = None
    kind = owner if isinstance(owner, type) else type(owner)
    module = getattr(function, "__module__", None) if owner is None else kind.__module__
    name = getattr(function, "__name__", "")
    return module in _DRAWING or name in _DRAWING_OF.get(str(module), ())


def _draws(value: Any, namespace: Mapping[str, Any], seen: set[int]) -> bool:
    """Whether a function of the main module names something that draws."""
    if not isinstance(value, FunctionType) or value.__globals__ is not namespace or id(value) in seen:
        return False
    seen.add(id(value))
    names = value.__code__.co_names
    found = [namespace.get(name) for name in names]
    owners = [one for one in found if isinstance(one, (ModuleType, type))]
    inner = [getattr(owner, name, None) for owner in owners for name in names]
    deeper = [getattr(owner, name, None) for owner in inner if isinstance(owner, type) for name in names]
    return any(_is_drawing_function(one) for one in (*found, *inner, *deeper)) or any(
        _draws(one, namespace, seen) for one in found
    )


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, _PLAIN):
        return type(value).__module__.partition(".")[0] in _OF_PYTHON
    if type(value) not in (list, tuple, set, frozenset, dict) or depth > _DEPTH or len(value) > _ITEMS:
        return False
    items = [*value.keys(), *value.values()] if isinstance(value, dict) else list(value)
    return all(_is_plain(item, depth + 1) for item in items)
