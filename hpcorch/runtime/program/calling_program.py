"""The program that called Hydra, as its user typed it: what a job executes again.

Found on the stack: :func:`hydra.main`'s call of Hydra, and the main module that it came from. What stands in front
of the program, such as a profiler or a debugger, is no part of it.

Each Python process that a job starts imports this module for its command line: what only a launch needs is imported
where it is needed.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from hpcorch.quick_dataclasses import dataclass

if TYPE_CHECKING:
    from hpcorch.runtime.program.task_file import Invocation

_MAIN = "__main__"
_HYDRA = ("hydra._internal.utils", "_run_hydra")
_MAIN_OF_PACKAGE = ".__main__"
# proc(5): the flags of a process, counted behind its name, and the one that it has until it calls exec.
_FLAGS, _FORKED = 6, 0x40
# python(1): options with a value, and those that end the options.
_TAKES_VALUE = "WX"
_ENDS_OPTIONS = "cm"
_LEFT_OUT = "i"  # a job has nobody who would type


class NotRepeatableError(Exception):
    """Why a job cannot execute the program: what follows "the function is sent as a pickle, since"."""


# Function -> how many sweeps of it this process has begun.
sweeps_begun: Counter[str] = Counter()
_told: list[str] = []  # what this process was called for


def sweep_to_extend(function: str, ordinal: int) -> str | None:
    """The id of the sweep that this process is to add runs to; the processes that it starts are not told.

    :param function: the name of the task function that a sweep is launched of
    :param ordinal: which of this process's sweeps of that function it is, from 0
    :raises UsageError: the process is to extend another sweep
    """
    from hpcorch.errors import UsageError
    from hpcorch.model.processes import EXTENDS_VARIABLE

    if (told := os.environ.pop(EXTENDS_VARIABLE, None)) is not None:
        _told.append(told)
    if not _told:
        return None
    sweep, _, wanted = _told[-1].partition(" ")
    if (function, ordinal) != (wanted, 0):
        raise UsageError(
            f"runs are to be added to sweep {sweep}, and the program launches another one of {function}: launch"
            " what you want to add as a sweep of its own"
        )
    return sweep


def interpreter_options() -> tuple[str, ...]:
    """The options that this interpreter was started with."""
    return parse_command_line(sys.orig_argv).options


def find_invocation(function: Callable[..., Any], *, ordinal: int) -> Invocation:
    """The program that has called Hydra in this thread.

    :raises NotRepeatableError: there is none that could be executed again
    """
    from hpcorch.runtime.program.drawn import drawn_values
    from hpcorch.runtime.program.task_file import Invocation, function_name

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
    import sysconfig

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


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """A command line of Python's.

    :param options: of the interpreter, as they were typed
    :param module: what ``-m`` was given; None if a file was given, or a command
    :param file: the script or folder; None if a module or a command was given
    :param arguments: the program's
    """

    options: tuple[str, ...]
    module: str | None
    file: str | None
    arguments: tuple[str, ...]


def parse_command_line(words: Sequence[str]) -> CommandLine:
    """Take a command line apart as Python does (python(1)).

    :param words: with the interpreter's name first
    """
    options: list[str] = []
    rest = list(words[1:])
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word.startswith("--"):
            options.append(word)
            if word == "--check-hash-based-pycs" and rest:
                options.append(rest.pop(0))
            continue
        flag, letter, value = _split(word)
        options += [flag] if flag else []
        if letter is None:
            continue
        if not value and rest:
            value = rest.pop(0)
        if letter in _TAKES_VALUE:
            options += [f"-{letter}", value]
            continue
        module = value if letter == "m" else None
        return CommandLine(options=tuple(options), module=module, file=None, arguments=tuple(rest))
    file = rest.pop(0) if rest else None
    return CommandLine(options=tuple(options), module=None, file=file, arguments=tuple(rest))


def _split(word: str) -> tuple[str | None, str | None, str]:
    """The flags of a word such as ``-OWerror``, then the letter that takes a value, and the value's beginning."""
    for at, letter in enumerate(word[1:], start=1):
        if letter in _TAKES_VALUE + _ENDS_OPTIONS:
            return _kept(word[1:at]), letter, word[at + 1 :]
    return _kept(word[1:]), None, ""


def _kept(letters: str) -> str | None:
    left = "".join(letter for letter in letters if letter not in _LEFT_OUT)
    return f"-{left}" if left else None
