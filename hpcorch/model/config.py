r"""Plain configurations: a run's composed task configuration as JSON-able data, without Hydra.

A run stores only how it differs from its base: paths and the plain values there. A path is keys joined by dots,
with ``\`` and ``.`` inside a key escaped by ``\``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

#: Plain form of a key that a change takes away; no value has this form, since plain keys double a leading ``$``.
ABSENT: Final = {"$absent": True}


def join_path(keys: Sequence[str]) -> str:
    """One string for a path of plain keys; the index of a list's item is written in digits."""
    return ".".join(key.replace("\\", "\\\\").replace(".", "\\.") for key in keys)


def split_path(path: str) -> Iterator[str]:
    """The plain keys of a path made by :func:`join_path`."""
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
