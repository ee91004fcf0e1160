"""Dataclasses that cost little to define.

:func:`dataclasses.dataclass` writes and compiles the source of the methods of each class, which takes about 0.5 ms.
A job defines some fifty classes before it calls the task, and would spend more time on that than on anything else.
Here all classes share the same methods. Everything else is as with the standard decorator, which is what type
checkers see: :func:`~dataclasses.fields`, :func:`~dataclasses.replace` and :func:`~dataclasses.asdict` work.

Values that are keys of large dictionaries are better made with the standard decorator: its ``__eq__`` and
``__hash__`` are faster than these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import MISSING, FrozenInstanceError
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

__all__ = ["dataclass"]

T = TypeVar("T")


def _dataclass(*, frozen: bool = False, slots: bool = False, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """Make a class a slotted, keyword-only dataclass.

    A method that the class defines itself stays. ``__post_init__`` is not called.

    :raises TypeError: another form is asked for, or a field has options beside its default
    """
    if not (slots and kw_only):
        raise TypeError("only slotted, keyword-only dataclasses are made here")
    methods = {**_METHODS, **(_FROZEN if frozen else _CHANGING)}
    return lambda plain: _made(plain, methods)


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _dataclass


def _made(plain: type[T], methods: Mapping[str, Any]) -> type[T]:
    own = set(vars(plain))
    cls: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=True)(plain)
    items = dataclasses.fields(cls)
    if not all(item.init and item.repr and item.compare and item.hash is None for item in items):
        raise TypeError("fields with options of their own need the standard decorator")
    cls._quick_put = {item.name: getattr(cls, item.name).__set__ for item in items}
    cls._quick_constants = {item.name: item.default for item in items if item.default is not MISSING}
    cls._quick_factories = {
        item.name: item.default_factory for item in items if item.default_factory is not MISSING
    }
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)
    made: type[T] = cls
    return made


def _init(self: Any, **given: Any) -> None:
    put = self._quick_put
    if len(given) < len(put):
        for name, make in self._quick_factories.items():
            if name not in given:
                given[name] = make()
        given = {**self._quick_constants, **given}
    try:
        for name, value in given.items():
            put[name](self, value)
    except KeyError:
        raise TypeError(_misfit(type(self), given)) from None
    if len(given) < len(put):
        raise TypeError(_misfit(type(self), given))


def _misfit(cls: Any, given: Mapping[str, Any]) -> str:
    unknown = ", ".join(sorted(given.keys() - cls._quick_put.keys()))
    missing = ", ".join(sorted(cls._quick_put.keys() - given.keys()))
    what = f"has no field {unknown}" if unknown else f"needs {missing}"
    return f"{cls.__qualname__} {what}"


def _values(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self._quick_put]


def _repr(self: Any) -> str:
    inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._quick_put)
    return f"{type(self).__qualname__}({inside})"


def _eq(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(tuple(_values(self)))


def _setattr(_self: Any, name: str, _value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(_self: Any, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _reduce(self: Any) -> tuple[Any, ...]:
    """For :mod:`pickle` and :mod:`copy`, which would otherwise assign to fields."""
    return _again, (type(self), {name: getattr(self, name) for name in self._quick_put})


def _again(cls: Callable[..., T], values: Mapping[str, Any]) -> T:
    return cls(**values)


_METHODS: Mapping[str, Any] = {"__init__": _init, "__repr__": _repr, "__eq__": _eq, "__reduce__": _reduce}
_FROZEN: Mapping[str, Any] = {"__hash__": _hash, "__setattr__": _setattr, "__delattr__": _delattr}
_CHANGING: Mapping[str, Any] = {"__hash__": None}
