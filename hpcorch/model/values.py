r"""Values of configurations, parameters and results: how they are recorded, and when two are the same.

*Plain form* is JSON without loss of value or type:

=====================  ==========================================================
value                  plain form
=====================  ==========================================================
str, bool, None        itself; ``"???"`` and ``"${...}"`` as written
int of 64 bits         itself
other int              ``{"$int": "<decimal digits>"}``
finite float           itself
nan, inf, -inf         ``{"$float": "nan" | "inf" | "-inf"}``
Enum                   its name
bytes                  ``{"$bytes": "<base64>"}``
Path                   ``{"$path": "<path>"}``
any other object       ``{"$object": "<module>.<qualified name of its type>"}``
key that is a str      itself, a leading ``$`` doubled
key that is not a str  ``"$<type>:<str(key)>"``, an Enum's key by name
=====================  ==========================================================

JSON and SQLite have numbers enough for all integers of 64 bits, and for no others.

A run's configuration is recorded as what differs from its base: paths and the plain values there. A path is plain
keys joined by dots, with ``\`` and ``.`` inside a key escaped by ``\``.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

K = TypeVar("K", bound=Hashable)
V_co = TypeVar("V_co", covariant=True)

#: Plain form of a key that a change takes away; no value has this form, since plain keys double a leading ``$``.
ABSENT: Final = {"$absent": True}

INTEGERS_OF_JSON: Final = range(-(1 << 63), 1 << 63)
_INTEGER: Final = re.compile(r"\s*[+-]?[0-9]+\s*")


def same(one: Any, other: Any) -> bool:
    """Whether two values are one: equal, and of the same type, throughout.

    ``1``, ``1.0`` and ``True`` are three values, ``0.0`` and ``-0.0`` are two, and nan is the same as nan. The
    order of keys does not matter.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        keys, others = ({(type(key), key) for key in value} for value in (one, other))
        return keys == others and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        if is_nan(one) or is_nan(other):
            return is_nan(one) and is_nan(other)
        return one == other and math.copysign(1.0, one) == math.copysign(1.0, other)
    return bool(one == other)


def is_nan(number: object) -> bool:
    """Whether a float or an integer of any size is nan. (``math.isnan`` refuses integers beyond all floats.)"""
    return isinstance(number, float) and math.isnan(number)


def digits(number: int) -> str:
    """An integer in decimal, also where Python's own conversion refuses, which is from 4,300 digits on."""
    try:
        return str(number)
    except ValueError:
        from decimal import Decimal

        return str(Decimal(number))


def integer(text: str) -> int:
    """The integer that decimal digits stand for, however many; the inverse of :func:`digits`.

    :raises ValueError: they stand for none
    """
    try:
        return int(text)
    except ValueError:
        if not _INTEGER.fullmatch(text):
            raise
        from decimal import Decimal

        return int(Decimal(text.strip()))


def plain_number(value: float) -> Any:
    """The plain form of a number."""
    if isinstance(value, int):
        return value if value in INTEGERS_OF_JSON else {"$int": digits(value)}
    return value if math.isfinite(value) else {"$float": str(value)}


def plain_scalar(value: Any) -> Any:
    """The plain form of a value that is no container."""
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (int, float)):
        return plain_number(value)
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, Path):
        return {"$path": str(value)}
    return {"$object": f"{type(value).__module__}.{type(value).__qualname__}"}


def plain_key(key: Any) -> str:
    """The plain form of a mapping's key."""
    if isinstance(key, str):
        return f"${key}" if key.startswith("$") else key
    if isinstance(key, Enum):
        return f"$enum:{key.name}"
    if isinstance(key, bytes):
        return f"$bytes:{base64.b64encode(key).decode('ascii')}"
    if type(key) is int:
        return f"$int:{digits(key)}"
    return f"${type(key).__name__}:{key}"


def to_plain(value: Any) -> Any:
    """The plain form of a value."""
    if isinstance(value, dict):
        return {plain_key(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return plain_scalar(value)


def from_plain(value: Any) -> Any:
    """The value of a plain form.

    An Enum is its name, and a tuple a list. What stands for an object, and what is no plain form, stays as it is.
    """
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, text),) = value.items()
        decode = _DECODERS.get(tag)
        if decode is not None:
            return _decoded(decode, text, value)
    return {_python_key(key): from_plain(item) for key, item in value.items()}


def _python_key(key: str) -> Any:
    if not key.startswith("$"):
        return key
    if key.startswith("$$"):
        return key[1:]
    kind, _, text = key[1:].partition(":")
    decode = _KEY_DECODERS.get(kind)
    return key if decode is None else _decoded(decode, text, key)


def _decoded(decode: Callable[[str], Any], text: Any, recorded: Any) -> Any:
    try:
        return decode(text)
    except (ValueError, TypeError, KeyError):  # a journal can be written by others
        return recorded


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


_DECODERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "$float": float,
    "$int": integer,
    "$bytes": _bytes,
    "$path": Path,
}
_KEY_DECODERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "int": integer,
    "float": float,
    "bytes": _bytes,
    "bool": {"True": True, "False": False}.__getitem__,
}


def values_of(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a mapping whose keys are names, not plain keys, such as those of parameters."""
    return {name: from_plain(value) for name, value in plain.items()}


def join_path(keys: Sequence[str]) -> str:
    """One string for a path of plain keys; the index of a list's item is written in digits."""
    return ".".join(key.replace("\\", "\\\\").replace(".", "\\.") for key in keys)


def split_path(path: str) -> Iterator[str]:
    """The plain keys of a path made by :func:`join_path`."""
    if "\\" not in path:
        yield from path.split(".")
        return
    key = ""
    escaped = False
    for char in path:
        if not escaped and char == "\\":
            escaped = True
        elif not escaped and char == ".":
            yield key
            key = ""
        else:
            key += char
            escaped = False
    yield key


def patched(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A run's plain configuration: its base's, with the run's changes in their order.

    Shares what did not change with ``base`` and leaves ``base`` as it is.
    """
    result = dict(base)
    for path, value in changes.items():
        *parents, last = split_path(path)
        at: Any = result
        for key in parents:
            index = int(key) if isinstance(at, list) else key
            child = at[index].copy()
            at[index] = child
            at = child
        where = int(last) if isinstance(at, list) else last
        if value == ABSENT:
            del at[where]
        else:
            at[where] = value
    return result


def digest(content: bytes) -> str:
    """A digest as this project writes it: ``sha256:`` and 64 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class FrozenMapping(Mapping[K, V_co]):
    """A mapping that is a value: it cannot be changed, and can be a key of another mapping.

    Equal to every mapping that has the same items. Its values must be hashable where its hash is wanted.
    """

    __slots__ = ("_hash", "_items")

    def __init__(self, items: Mapping[K, V_co] | None = None) -> None:
        self._items = dict(items or {})
        self._hash: int | None = None

    def __getitem__(self, key: K) -> V_co:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        if self._hash is None:  # asked for once for each run of a launch
            self._hash = hash(frozenset(self._items.items()))
        return self._hash

    def __repr__(self) -> str:
        return repr(self._items)
