"""The program's main module on the node, loaded from the snapshot by its file.

The task function of ``python train.py`` lives in ``__main__``. Pickled by value it would be a copy, cut off from
its file: ``__file__`` and tracebacks would name the live one. So the file of the snapshot is executed as
``__main__``, without what stands under ``if __name__ == "__main__":``, and the function is looked up by its
qualified name. The pickle is the fallback: where the function has no such name, where the file launches a sweep as
soon as it is executed, and where it does not set the variables that the function uses as the program had them.

Classes of ``__main__`` are pickled by value (cloudpickle), with an identity that is made of their names here. So an
object from another process, such as a checkpoint or a composed configuration, has this process's own class.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import ModuleSpec, SourceFileLoader
from operator import attrgetter
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from hpcorch.errors import DriftError
from hpcorch.model.processes import RUNTIME
from hpcorch.quick_dataclasses import dataclass

_MAIN = "__main__"
_PLAIN = (int, float, complex, str, bytes, bool, type(None))
# Deeper and larger values are compared by their types alone: they are data.
_DEPTH, _ITEMS = 8, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class MainFunction:
    """Where a task function is in the main module.

    :param file: absolute path of the module's file
    :param module: the name that ``python -m`` was given; empty for a script
    :param package: that relative imports start from; empty for a script
    :param name: qualified name of the function, or of what decorates it
    :param wrappers: how many decorators stand around it
    :param argv: the program's arguments
    :param variables: what the function uses of the module -> digest of type and value
    """

    file: str
    module: str
    package: str
    name: str
    wrappers: int
    argv: list[str]
    variables: Mapping[str, str]


def find_main_function(function: Callable[..., Any]) -> MainFunction | None:
    """Where to find a task function again by its name; None if it cannot be found by name."""
    main = sys.modules[_MAIN]
    file = getattr(main, "__file__", None)
    if getattr(function, "__module__", None) != _MAIN or not isinstance(file, str) or not Path(file).is_file():
        return None
    name = getattr(function, "__qualname__", "")
    try:
        found = list(_unwrapped(attrgetter(name)(main)))
    except AttributeError:
        return None
    wrappers = next((depth for depth, one in enumerate(found) if one is function), None)
    if wrappers is None:
        return None
    spec = getattr(main, "__spec__", None)
    return MainFunction(
        file=str(Path(file).absolute()),
        module=spec.name if spec is not None else "",
        package=getattr(main, "__package__", None) or "",
        name=name,
        wrappers=wrappers,
        argv=list(sys.argv),
        variables=_described(_used(function, vars(main)), {}),
    )


def load_main_function(
    main: MainFunction, *, root: str, tree: str, file: str
) -> tuple[Callable[..., Any] | None, str | None]:
    """The task function from the snapshot, or why it cannot be loaded from there.

    :param root: the folder that the snapshot stands for
    :param tree: where the snapshot is
    :param file: the main module's file in the snapshot
    :raises DriftError: the module imports something that was not frozen, and the policy is to refuse
    """
    earlier = sys.modules[_MAIN]
    module = sys.modules[_MAIN] = _module(main, file)
    function = None
    try:
        problem = _executed(module, main, file)
        if problem is None:
            function, problem = _looked_up(module, main, {tree: root})
    finally:
        if function is None:
            sys.modules[_MAIN] = earlier
    if function is not None:
        sys.modules.setdefault(f"{RUNTIME}.__main__", earlier)
        mark_classes(module)
    return function, problem


def mark_classes(module: ModuleType) -> None:
    """Give the classes of a main module the identity by which they are known in pickles of any process."""
    from cloudpickle.cloudpickle import (
        _DYNAMIC_CLASS_TRACKER_BY_CLASS,
        _DYNAMIC_CLASS_TRACKER_BY_ID,
        _DYNAMIC_CLASS_TRACKER_LOCK,
    )

    with _DYNAMIC_CLASS_TRACKER_LOCK:
        for cls in _classes(vars(module), set()):
            identity = f"hpcorch {_MAIN} {cls.__qualname__}"
            _DYNAMIC_CLASS_TRACKER_BY_CLASS[cls] = identity
            _DYNAMIC_CLASS_TRACKER_BY_ID[identity] = cls


def _classes(namespace: Mapping[str, Any], seen: set[type]) -> Iterator[type]:
    for value in list(namespace.values()):
        if isinstance(value, type) and value.__module__ == _MAIN and value not in seen:
            seen.add(value)
            yield value
            yield from _classes(vars(value), seen)


def _unwrapped(function: Any) -> Iterator[Any]:
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)


def _module(main: MainFunction, file: str) -> ModuleType:
    module = ModuleType(_MAIN)
    module.__file__ = file
    module.__package__ = main.package or None
    module.__loader__ = SourceFileLoader(_MAIN, file)
    module.__spec__ = ModuleSpec(main.module, None, origin=file) if main.module else None
    return module


class _LaunchesError(BaseException):
    """The file calls Hydra's main function when it is executed: loading it must not launch the sweep again."""


def _executed(module: ModuleType, main: MainFunction, file: str) -> str | None:
    """Execute the file; why it did not work, if it did not."""
    import hydra.main  # noqa: F401 - so that it is in sys.modules

    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise _LaunchesError

    hydra_main: Any = sys.modules["hydra.main"]
    run_hydra, argv = hydra_main._run_hydra, sys.argv  # noqa: SLF001 - what a decorated function calls
    hydra_main._run_hydra = refuse  # noqa: SLF001
    sys.argv = list(main.argv)
    try:
        exec(_code(file), vars(module))  # noqa: S102 - the user's own program, as frozen
    except DriftError:
        raise
    except _LaunchesError:
        return 'it launches the sweep outside `if __name__ == "__main__":`'
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's module may raise anything
        return f"executing it raised {type(error).__name__}: {error}"
    finally:
        hydra_main._run_hydra = run_hydra  # noqa: SLF001
        sys.argv = argv
    return None


def _code(file: str) -> CodeType:
    tree = _WithoutMainBlock().visit(ast.parse(Path(file).read_bytes(), filename=file))
    return compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True)


class _WithoutMainBlock(ast.NodeTransformer):
    """Makes ``__name__ == "__main__"`` untrue."""

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        sides = (node.left, *node.comparators)
        named = any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
        main = any(isinstance(side, ast.Constant) and side.value == _MAIN for side in sides)
        if len(sides) == 2 and named and main and isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
            return ast.copy_location(ast.Constant(isinstance(node.ops[0], ast.NotEq)), node)
        return self.generic_visit(node)


def _looked_up(
    module: ModuleType, main: MainFunction, moved: Mapping[str, str]
) -> tuple[Callable[..., Any] | None, str | None]:
    """The function, or why it is not what the launching program had."""
    try:
        found = list(_unwrapped(attrgetter(main.name)(module)))
    except AttributeError:
        return None, f"it does not define {main.name}"
    if main.wrappers >= len(found):
        return None, f"{main.name} is a different function there"
    names = {name: getattr(module, name) for name in main.variables if hasattr(module, name)}
    here = _described(names, moved)
    differing = [name for name, value in main.variables.items() if here.get(name) != value]
    if differing:
        return None, f"the launching program had set {', '.join(sorted(differing))} otherwise"
    return found[main.wrappers], None


def _used(function: Any, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a module that a function names, and those that functions and classes of the module name."""
    found: dict[str, Any] = {}
    pending = list(_codes(function))
    while pending:
        code = pending.pop()
        pending += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        for name in code.co_names:
            if name in namespace and name not in found and not name.startswith("__"):
                found[name] = namespace[name]
                pending += _codes(namespace[name])
    return found


def _codes(value: Any) -> Iterator[CodeType]:
    """The code of a function or of a class's methods, if it is of the main module."""
    if getattr(value, "__module__", None) != _MAIN:
        return
    for one in _unwrapped(value):
        if isinstance(one, FunctionType):
            yield one.__code__
    if isinstance(value, type):
        for member in vars(value).values():
            inner = getattr(member, "__func__", getattr(member, "fget", member))
            if isinstance(inner, FunctionType):
                yield inner.__code__


def _described(values: Mapping[str, Any], moved: Mapping[str, str]) -> dict[str, str]:
    """A digest for each value: of its type, and of what it is if it is made of plain values and paths.

    :param moved: texts to read as others
    """
    return {name: _digest(_text(value), moved) for name, value in values.items()}


def _digest(text: str, moved: Mapping[str, str]) -> str:
    for here, there in moved.items():
        text = text.replace(here, there)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _text(value: Any, depth: int = 0) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if type(value) in _PLAIN or isinstance(value, Path):
        return f"{kind} {value!r}"
    if type(value) not in (list, tuple, set, frozenset, dict) or depth > _DEPTH or len(value) > _ITEMS:
        return kind
    items = value.items() if isinstance(value, dict) else value
    texts = [_text(item, depth + 1) for item in items]
    return f"{kind} {sorted(texts) if isinstance(value, (set, frozenset)) else texts}"
