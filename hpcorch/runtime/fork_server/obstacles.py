"""What stands in the way of forking runs from a process that has started the program.

A forked run must be what it would be in a process of its own. So this looks for what a fork does not carry over,
for what each run would undo although it is there for all, and for random numbers that were drawn: each run has a
seed of its own from the start.
"""

from __future__ import annotations

import ast
import linecache
import pickle
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

import hydra
import psutil

from hpcorch.runtime.attempt.prepare import Prepared
from hpcorch.runtime.program.execution import is_own_file
from hpcorch.runtime.run.generators import capture
from hpcorch.runtime.run.seeding import seed_libraries

# CUDA's, ROCm's: a process that has opened one of them cannot be forked.
_GPU_DEVICES: Final = ("/dev/nvidia", "/dev/kfd")
_HYDRA: Final = str(Path(hydra.__file__).parent)
_NAMED: Final = 3


def obstacle(seed: int, call: FrameType | None) -> str | None:
    """Why no run can be forked from this process, as a part of a sentence; None if nothing is in the way.

    Afterwards the generators are as they were seeded.

    :param seed: that the generators had when the program began
    :param call: the frame in which the program's call of its function arrives
    """
    threads = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
    if threads:
        return f"it has started threads ({_listed(threads)})"
    children = [f"{one.name()}, process {one.pid}" for one in psutil.Process().children()]
    if children:
        return f"it has started processes ({_listed(children)})"
    if (device := _open_gpu()) is not None:
        return f"it has used a GPU ({device} is open)"
    if (place := _guarded_call(call)) is not None:
        return f"it calls its function inside of a try or with statement ({place})"
    return "it has drawn random numbers, or seeded their generators" if _has_drawn(seed) else None


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _open_gpu() -> str | None:
    for link in Path("/proc/self/fd").iterdir():
        try:
            name = str(link.readlink())
        except OSError:  # the descriptor of the listing itself
            continue
        if name.startswith(_GPU_DEVICES):
            return name
    return None


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
