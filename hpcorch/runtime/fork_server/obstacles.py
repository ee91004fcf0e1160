"""What stands in the way of forking runs from a process that has started the program.

A forked run must be what it would be in a process of its own. So this looks for what a fork does not carry over,
for what each run would undo although it is there for all, and for random numbers that were drawn: each run has a
seed of its own from the start.
"""

from __future__ import annotations

import ast
import ctypes
import linecache
import os
import pickle
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

import hydra
import psutil

from hpcorch.runtime.attempt.prepare import Prepared
from hpcorch.runtime.fork_server.watch import Watch, is_generator, mappings, open_files, target_of
from hpcorch.runtime.program.execution import is_own_file
from hpcorch.runtime.program.frozen_imports import is_frozen
from hpcorch.runtime.run.generators import capture
from hpcorch.runtime.run.seeding import seed_libraries

# CUDA's, ROCm's: a process that has opened one of them cannot be forked.
_GPU_DEVICES: Final = ("/dev/nvidia", "/dev/kfd")
_HYDRA: Final = str(Path(hydra.__file__).parent)
_NAMED: Final = 3
_OPENMP: Final = re.compile(r"/lib(gomp|iomp5|omp)[-.\w]*\.so[.\d]*$")
_PAUSE_HARD: Final = 2  # omp_pause_resource_all(omp_pause_hard), OpenMP 5.0
_OPENBLAS: Final = re.compile(r"/lib[^/]*openblas[^/]*\.so[.\d]*$")
_THREADS_END_S: Final = 0.5


def obstacle(seed: int, call: FrameType | None, watch: Watch) -> str | None:
    """Why no run can be forked from this process, as a part of a sentence; None if nothing is in the way.

    Afterwards the generators are as they were seeded, and OpenMP has no threads that a fork would look for.

    :param seed: that the generators had when the program began
    :param call: the frame in which the program's call of its function arrives
    :param watch: on the program's start
    """
    for look in (_of_process, lambda: _of_call(call), lambda: _of_start(watch), lambda: _of_modules(watch)):
        if (found := look()) is not None:
            return found
    return "it has drawn random numbers, or seeded their generators" if _has_drawn(seed) else None


def _of_process() -> str | None:
    """What a fork does not carry over."""
    threads = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
    if threads:
        return f"it has started threads ({_listed(threads)})"
    children = [f"{one.name()}, process {one.pid}" for one in psutil.Process().children()]
    if children:
        return f"it has started processes ({_listed(children)})"
    if (device := _open_gpu()) is not None:
        return f"it has used a GPU ({device} is open)"
    if any(signal.getitimer(kind)[0] for kind in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)):
        return "it has set an alarm"
    if not _has_files_in_memory():
        return "this system has no files in memory (memfd_create), by which forked runs are found"
    if (more := _threads_of_libraries()) > 0:
        return f"a library has started threads ({more})"
    return None


def _of_start(watch: Watch) -> str | None:
    """What differs from run to run, and what all runs would share."""
    if watch.read:
        return f"it has asked for the run before there was one ({_listed(sorted(set(watch.read)))})"
    if watch.hooks:
        return f"it has registered exit hooks ({_listed(watch.hooks)}), and each run would call them"
    if opened := watch.opened():
        return f"it has files open that all runs would share ({_listed(opened)})"
    if shared := watch.shared():
        return f"it has memory that all runs would share ({_listed(shared)})"
    return None


def _of_call(frame: FrameType | None) -> str | None:
    place = _guarded_call(frame)
    return None if place is None else f"it calls its function inside of a try or with statement ({place})"


def _of_modules(watch: Watch) -> str | None:
    """Objects of the program's modules that would be the same in all runs, or that want to know of their end."""
    for name, module in list(sys.modules.items()):
        if name != "__main__" and not is_frozen(module):
            continue
        for key, value in list(vars(module).items()):
            if is_generator(value):  # of PyTorch, too, whose generators Python does not list
                return f"it has a random generator of its own ({key} in {name})"
            if not isinstance(value, type) and "__del__" in vars(type(value)) and type(value).__module__ == name:
                return f"it has an object with a __del__ ({key} in {name})"
    if made := watch.made_generators():
        return f"it has made random generators ({_listed(made)})"
    return None


def _has_files_in_memory() -> bool:
    try:
        os.close(os.memfd_create("hpcorch"))
    except (AttributeError, OSError):
        return False
    return True


def _threads_of_libraries() -> int:
    """Native threads that a fork would lack, after OpenMP libraries have ended theirs, which they start again.

    OpenBLAS does so by itself (pthread_atfork(3)).
    """
    for library in _loaded(_OPENMP):
        if (pause := getattr(library, "omp_pause_resource_all", None)) is not None:
            pause(_PAUSE_HARD)
    of_openblas = sum(max(0, _openblas_threads(library) - 1) for library in _loaded(_OPENBLAS))
    process, deadline = psutil.Process(), time.monotonic() + _THREADS_END_S
    while (more := process.num_threads() - 1 - of_openblas) > 0 and time.monotonic() < deadline:
        time.sleep(_THREADS_END_S / 50)
    return more


def _openblas_threads(library: ctypes.CDLL) -> int:
    for name in ("openblas_get_num_threads", "scipy_openblas_get_num_threads"):
        for suffix in ("", "64_"):
            if (ask := getattr(library, f"{name}{suffix}", None)) is not None:
                return int(ask())
    return 1


def _loaded(name: re.Pattern[str]) -> list[ctypes.CDLL]:
    """The libraries of this process whose path ends so."""
    paths = sorted({columns[-1] for columns in mappings() if name.search(columns[-1])})
    return [ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY) for path in paths]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _open_gpu() -> str | None:
    names = map(target_of, open_files())
    return next((name for name in names if name.startswith(_GPU_DEVICES)), None)


def _guarded_call(frame: FrameType | None) -> str | None:
    """Where the program does something when its call is over: each run would do it, to what is there for all."""
    while frame is not None and frame.f_code is not Prepared.execute.__code__:
        code = frame.f_code
        if not is_own_file(code.co_filename) and not code.co_filename.startswith(_HYDRA) and _is_guarded(frame):
            return f"{Path(code.co_filename).name}, line {frame.f_lineno}"
        frame = frame.f_back
    return None


def _is_guarded(frame: FrameType) -> bool:
    """Whether the line that a frame executes is inside of a block that does something when it is left."""
    code = frame.f_code
    source = "".join(linecache.getlines(code.co_filename, frame.f_globals))
    if not source:
        return True  # nobody can tell
    tree = ast.parse(source)
    functions = [one for one in ast.walk(tree) if _is_function(one) and code.co_name != "<module>"]
    scope = next((one for one in functions if _first_line(one) == code.co_firstlineno), tree)
    return any(_has(block, frame.f_lineno) for block in _guards(scope))


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))


def _first_line(node: ast.AST) -> int:
    """The first line of a function as its code has it: of its first decorator, if it has any."""
    first = [*getattr(node, "decorator_list", ()), node][0]
    return int(first.lineno)


def _guards(scope: ast.AST) -> Iterator[ast.AST]:
    """The try and with statements of a function, or of a module, without those of functions inside of it."""
    for node in ast.iter_child_nodes(scope):
        if _is_function(node):
            continue
        if isinstance(node, (ast.Try, ast.With, ast.AsyncWith)) or type(node).__name__ == "TryStar":
            yield node
        yield from _guards(node)


def _has(block: ast.AST, line: int) -> bool:
    return bool(block.lineno <= line <= (block.end_lineno or block.lineno))  # type: ignore[attr-defined]


def _has_drawn(seed: int) -> bool:
    before = pickle.dumps(capture({}))
    seed_libraries(seed)
    return pickle.dumps(capture({})) != before
