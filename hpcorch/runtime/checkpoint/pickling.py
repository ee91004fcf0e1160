"""Pickles of a task's state: cloudpickle's, with tensors of PyTorch as plain bytes.

Memory of NumPy arrays and CPU tensors is handed to the file as it is, without a copy of the whole.

A class of ``__main__`` is pickled by value, as it is in the task file. cloudpickle marks such classes, so that
the next attempt, which has loaded the task file, gets the task's own class. A class that is known there keeps what
it has: methods from the checkpoint would refer to the variables of another copy of the module.

:func:`rebuild_tensor`, :func:`rebuild_storage`, :func:`make_class` and :func:`fill_class` are called by pickles
that exist: their names and parameters are part of the format.
"""

from __future__ import annotations

import ctypes
import pickle
import sys
from collections.abc import Callable
from importlib import import_module
from typing import IO, Any, Protocol
from weakref import WeakSet

import cloudpickle
from cloudpickle.cloudpickle import _DYNAMIC_CLASS_TRACKER_BY_CLASS

PROTOCOL = 5

_without_content: WeakSet[type] = WeakSet()


class Sink(Protocol):
    """Where a pickle goes."""

    def write(self, content: bytes | pickle.PickleBuffer, /) -> int: ...


def dump(value: Any, sink: Sink) -> None:
    """Pickle a value.

    :raises Exception: whatever pickling meets, :class:`pickle.PicklingError` and TypeError above all
    """
    pickler: Any = StatePickler(sink)
    pickler.dump(value)


def load(file: IO[bytes]) -> Any:
    """Load what :func:`dump` wrote. The file must have been verified: a pickle runs code.

    :raises Exception: whatever unpickling meets, such as a module that is not there
    """
    return pickle.load(file)  # noqa: S301 - verified by its digest


class StatePickler(cloudpickle.Pickler):
    """See the module."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink, protocol=PROTOCOL)  # type: ignore[no-untyped-call]
        # Kept alive until all is written: the memory of a storage that is gone may be given to another.
        self._storages: dict[tuple[Any, ...], _Storage] = {}

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is _Storage:
            return obj.reduction()
        torch = sys.modules.get("torch")
        if torch is not None and _is_plain_tensor(torch, obj):
            return self._tensor(torch, obj)
        reduced = super().reducer_override(obj)  # type: ignore[no-untyped-call]
        if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) == 6:
            make, arguments, state, items, pairs, setter = reduced
            return make_class, (make, arguments), (setter, state), items, pairs, fill_class
        return reduced

    def _tensor(self, torch: Any, tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        key = (str(storage.device), storage.data_ptr(), storage.nbytes()) if storage.nbytes() else (id(storage),)
        shared = self._storages.setdefault(key, _Storage(storage))
        shape = (tensor.storage_offset(), tuple(tensor.size()), tuple(tensor.stride()))
        is_parameter = type(tensor) is torch.nn.Parameter
        dtype = str(tensor.dtype).partition(".")[2]
        return rebuild_tensor, (shared, dtype, *shape, tensor.requires_grad, is_parameter)


def _is_plain_tensor(torch: Any, obj: Any) -> bool:
    """Whether a tensor is its memory, type and shape alone. Others are left to PyTorch's own reduction."""
    return (
        type(obj) in (torch.Tensor, torch.nn.Parameter)
        and obj.layout is torch.strided
        and obj.device.type in ("cpu", "cuda")
        and not (obj.is_quantized or obj.is_conj() or obj.is_neg())
        and not (vars(obj) or obj._backward_hooks)  # noqa: SLF001 - as torch.Tensor.__reduce_ex__ does
    )


class _Storage:
    """Memory of one or more tensors. They share it after restoring as they did before."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def reduction(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        device = str(self._storage.device)
        if self._storage.device.type != "cpu":
            self._storage = self._storage.cpu()
        size = self._storage.nbytes()
        memory = (ctypes.c_char * size).from_address(self._storage.data_ptr()) if size else b""
        return rebuild_storage, (device, pickle.PickleBuffer(memory))


def rebuild_storage(device: str, content: bytes | bytearray) -> Any:
    """A storage with this content, on its device if that is here, else on the CPU.

    The memory is PyTorch's own, aligned as it aligns: results of kernels may depend on that in their last bits.
    """
    torch: Any = import_module("torch")

    storage = torch.UntypedStorage(len(content), device="cpu")
    if content:
        ctypes.memmove(storage.data_ptr(), (ctypes.c_char * len(content)).from_buffer(content), len(content))
    wanted = torch.device(device)
    if wanted.type == "cuda" and torch.cuda.is_available() and (wanted.index or 0) < torch.cuda.device_count():
        return storage.cuda(wanted.index or 0)
    return storage


def rebuild_tensor(
    storage: Any,
    dtype: str,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: bool,  # noqa: FBT001 - called by pickles, which know positions only
    is_parameter: bool,  # noqa: FBT001
) -> Any:
    """A view of a storage, as a tensor or a parameter."""
    torch: Any = import_module("torch")

    tensor = torch.empty(0, dtype=getattr(torch, dtype), device=storage.device)
    with torch.no_grad():
        tensor.set_(storage, offset, size, stride)
    if is_parameter:
        return torch.nn.Parameter(tensor, requires_grad=requires_grad)
    return tensor.requires_grad_(requires_grad)


def make_class(make: Callable[..., type], arguments: tuple[Any, ...]) -> type:
    """A class of ``__main__``: the task's own if it is known here, else a new one without content."""
    known = set(_DYNAMIC_CLASS_TRACKER_BY_CLASS)
    made = make(*arguments)
    if made not in known:
        _without_content.add(made)
    return made


def fill_class(cls: type, state: tuple[Callable[[type, Any], Any], Any]) -> None:
    """Give a class that :func:`make_class` has just made its content."""
    if cls in _without_content:
        _without_content.discard(cls)
        setter, content = state
        setter(cls, content)
