"""The classes of the main module, in pickles.

Classes of ``__main__`` are pickled by value (cloudpickle), with an identity that is made of their names here. So an
object from another process, such as a checkpoint or a composed configuration, has this process's own class.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

_MAIN = "__main__"


class TooLargeError(Exception):
    """A pickle would have more bytes than it may."""


class _Sink(io.BytesIO):
    def __init__(self, most: int | None) -> None:
        super().__init__()
        self._most = most

    def write(self, content: Any, /) -> int:
        if self._most is not None and self.tell() + memoryview(content).nbytes > self._most:
            raise TooLargeError
        return super().write(content)


def dumped(value: Any, *, most: int | None = None) -> bytes:
    """A pickle in which a class of ``__main__`` is one with the class of that name in the main module of a job.

    :param most: bytes that it may have
    :raises TooLargeError: it would have more
    :raises Exception: whatever pickling meets
    """
    from hpcorch.runtime.checkpoint.pickling import dump

    mark_classes(sys.modules[_MAIN])
    sink = _Sink(most)
    dump(value, sink)
    return sink.getvalue()


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
