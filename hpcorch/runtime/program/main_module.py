"""The main module in pickles: its classes, and all that it defines where the program's function is sent.

Classes of ``__main__`` are pickled by value (cloudpickle), with an identity that is made of their names here. So an
object from another process, such as a checkpoint or a composed configuration, has this process's own class.

Of a program whose function is sent, a configuration may name a class of ``__main__``, and a pool of processes looks
for its functions there.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from hpcorch.model.processes import RUNTIME
from hpcorch.quick_dataclasses import dataclass

_MAIN = "__main__"
_MOST = 10_000_000  # bytes: what is larger is data that a function refers to


@dataclass(frozen=True, slots=True, kw_only=True)
class SentMain:
    """What a job needs of the main module of the launch.

    :param file: absolute path of its file; None if it has none
    :param argv: ``sys.argv`` when Hydra was called
    :param definitions: one pickle of the task's function, and of the module's functions and classes by their names,
        so that they are the same objects; None if there is none, or it would be large
    """

    file: str | None
    argv: list[str]
    definitions: bytes | None


def send_main(function: Any) -> SentMain:
    """The main module of this process.

    :param function: the task's
    """
    module = sys.modules[_MAIN]
    file = getattr(module, "__file__", None)
    has_file = isinstance(file, str) and Path(file).is_file()
    return SentMain(
        file=os.path.join(Path.cwd(), str(file)) if has_file else None,  # noqa: PTH118 - as Python joins them
        argv=list(sys.argv),
        definitions=_definitions(module, function),
    )


def enter_main(sent: SentMain, function: Any, argv: Sequence[str]) -> Any:
    """Have the main module that was sent as this process's own.

    :param function: the task's, as it was sent alone
    :param argv: of the job
    :return: the function as it is in the module
    """
    module = ModuleType(_MAIN)
    vars(module)["__builtins__"] = __builtins__
    sys.modules.setdefault(f"{RUNTIME}.{_MAIN}", sys.modules[_MAIN])
    sys.modules[_MAIN] = module
    own: Mapping[str, Any] = {}
    if sent.definitions is not None:
        function, own = pickle.loads(sent.definitions)  # noqa: S301 - from a verified file
    if isinstance(function, FunctionType) and function.__module__ == _MAIN:
        vars(module).update(function.__globals__)
    vars(module).update(own)
    if sent.file is not None:
        module.__file__ = sent.file
    sys.argv = list(argv)
    return function


def _definitions(module: ModuleType, function: Any) -> bytes | None:
    own = {
        name: value
        for name, value in list(vars(module).items())
        if isinstance(value, (type, FunctionType)) and value.__module__ == _MAIN
    }
    whole = _within_limit((function, own))
    if whole is not None:
        return whole
    return _within_limit((function, {name: one for name, one in own.items() if _within_limit(one) is not None}))


def _within_limit(value: Any) -> bytes | None:
    """A pickle, unless there can be none or it is too large."""
    try:
        return dumped(value, most=_MOST)
    except Exception:  # noqa: BLE001 - whatever pickling meets
        return None


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
