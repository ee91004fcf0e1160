"""The program that called Hydra, as its user typed it: what a job executes again.

Found on the stack: :func:`hydra.main`'s call of Hydra, and the main module that it came from. What stands in front
of the program, such as a profiler or a debugger, is no part of it.
"""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hpcorch.runtime.program.drawn import drawn_values
from hpcorch.runtime.program.interpreter import parse_command_line
from hpcorch.runtime.program.task_file import Invocation, function_name

_MAIN = "__main__"
_HYDRA = ("hydra._internal.utils", "_run_hydra")
_MAIN_OF_PACKAGE = ".__main__"
# proc(5): the flags of a process, counted behind its name, and the one that it has until it calls exec.
_FLAGS, _FORKED = 6, 0x40


class NotRepeatableError(Exception):
    """Why a job cannot execute the program: what follows "the function is sent as a pickle, since"."""


# Function -> how many sweeps of it this process has begun.
sweeps_begun: Counter[str] = Counter()


def interpreter_options() -> tuple[str, ...]:
    """The options that this interpreter was started with."""
    return parse_command_line(sys.orig_argv).options


def find_invocation(function: Callable[..., Any], *, ordinal: int) -> Invocation:
    """The program that has called Hydra in this thread.

    :raises NotRepeatableError: there is none that could be executed again
    """
    if "PYTEST_CURRENT_TEST" in os.environ and "_pytest" in sys.modules:
        raise NotRepeatableError("a test has called it")
    namespace = _main_namespace(function)
    file = namespace.get("__file__")
    if not isinstance(file, str) or not Path(file).is_file():
        raise NotRepeatableError("its main module has no file")
    if file.endswith(".pyc"):
        raise NotRepeatableError("its main module is byte code without a source")
    path = os.path.join(Path.cwd(), file)  # noqa: PTH118 - as Python joins them
    if _is_of_python(path):
        raise NotRepeatableError(f"{path}, a module of Python's own, has started it")
    if _is_forked():
        raise NotRepeatableError("a process that the program had forked has called it")
    spec = namespace.get("__spec__")
    # ``python FOLDER`` executes FOLDER/__main__.py as a script whose spec has no name of its own.
    module = "" if spec is None or spec.name == _MAIN else str(spec.name).removesuffix(_MAIN_OF_PACKAGE)
    content = Path(path).read_bytes()
    return Invocation(
        file=path,
        digest=hashlib.sha256(content).hexdigest(),
        module=module,
        argv=(argv := _argv(path, module)),
        given=words_given(argv, sys.argv[1:]),
        cwd=_first_directory(argv[0], path),
        function=function_name(function),
        ordinal=ordinal,
        drawn=drawn_values(content, namespace),
    )


def _main_namespace(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The variables of the main module that the call of Hydra came from."""
    frames = _frames(sys._getframe())  # noqa: SLF001 - inspect.stack() reads every file on the stack
    if not any(_calls_hydra(frame, function) for frame in frames):
        raise NotRepeatableError("it was not started by hydra.main")
    for frame in frames:  # those outside of that call
        if frame.f_globals.get("__name__") == _MAIN:
            return frame.f_globals
    raise NotRepeatableError("no main module has called it")


def _is_of_python(path: str) -> bool:
    """Whether a file is of the standard library."""
    library = os.path.realpath(sysconfig.get_path("stdlib"))
    return Path(os.path.realpath(path)).is_relative_to(library) and "site-packages" not in Path(path).parts


def _is_forked() -> bool:
    """Whether another process has begun the program, and this one is a copy of it. In a job the first one leads."""
    try:
        status = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return bool(int(status.rpartition(")")[2].split()[_FLAGS]) & _FORKED)


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _calls_hydra(frame: FrameType, function: Callable[..., Any]) -> bool:
    if (frame.f_globals.get("__name__"), frame.f_code.co_name) != _HYDRA:
        return False
    return any(value is function for value in frame.f_locals.values())


def _argv(file: str, module: str) -> list[str]:
    """``sys.argv`` as it was when the program began, whatever the program, or what stands in front, did to it."""
    typed = parse_command_line(sys.orig_argv)
    if typed.module is not None and module == typed.module.removesuffix(_MAIN_OF_PACKAGE):
        return [file, *typed.arguments]
    words: Sequence[str] = typed.arguments if typed.file is None else (typed.file, *typed.arguments)
    for at, word in enumerate(words):
        if module and word == module:
            return [file, *words[at + 1 :]]
        if not module and _is_file(word, file):
            return list(words[at:])
    return list(sys.argv)


def words_given(typed: Sequence[str], given: Sequence[str]) -> tuple[int, ...]:
    """Which of the typed words Hydra was given, where a program has taken its own out before: of the same the last.

    :param typed: with the program's name first
    :param given: what Hydra has read
    """
    left = Counter(given)
    found = []
    for place in range(len(typed) - 1, 0, -1):
        if left[typed[place]]:
            left[typed[place]] -= 1
            found.append(place)
    return tuple(reversed(found))


def _first_directory(typed: str, file: str) -> str | None:
    """Where the program began, if it has gone elsewhere since; a path that was typed as a relative one tells."""
    first = Path(file.removesuffix(typed))
    is_known = file.endswith(os.sep + typed) and first.is_dir()
    return str(first) if is_known and not first.samefile(Path.cwd()) else None


def _is_file(word: str, file: str) -> bool:
    if file.endswith(os.sep + word):
        return True
    real = os.path.realpath(file)
    return os.path.realpath(word) in (real, os.path.dirname(real))  # noqa: PTH120 - a text that may be no path
