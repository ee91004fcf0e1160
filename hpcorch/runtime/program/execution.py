"""Executing the program itself in a job, from the frozen code, up to its call of the function.

The program runs as its user typed it: its main module is ``__main__``, ``sys.argv`` is what it was, with the run's
values in the place of the swept ones and without ``--multirun``. Where it calls what :func:`hydra.main` has
decorated, the run takes place instead of what Hydra would do, and the process ends with it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any, NoReturn

from hpcorch.errors import DriftError
from hpcorch.model.processes import RUNTIME
from hpcorch.runtime.context.output import say
from hpcorch.runtime.program.frozen_imports import FrozenFinder, FrozenSource
from hpcorch.runtime.program.task_file import Invocation, function_name

_MAIN = "__main__"
_MULTIRUN = ("-m", "--multirun")
_MODE = "hydra.mode"
_BEGINS_OVERRIDE = "+~"
_OURS = f"{Path(__file__).parents[2]}{os.sep}"


class NotCalledError(Exception):
    """The program ended without calling the function that its launch had called."""


def execute_program(
    invocation: Invocation,
    overrides: Sequence[str],
    finder: FrozenFinder | None,
    run: Callable[[Callable[..., Any]], NoReturn],
) -> NoReturn:
    """Execute the program up to its call of the function, and there the run.

    :param overrides: the run's, as Hydra lists them
    :param finder: of the snapshot; None to execute the live files
    :param run: takes the function; it leaves by an exception, which passes through the program
    :raises DriftError: the main module is not as it was launched
    :raises NotCalledError: the program has ended before that call
    :raises BaseException: what the program raises, ``SystemExit`` included, also in a process that it forks
    """
    if invocation.cwd is not None:
        os.chdir(invocation.cwd)
    sys.argv = job_argv(invocation.argv, invocation.given, overrides)
    module, code = _main_module(invocation, finder)
    sys.modules.setdefault(f"{RUNTIME}.{_MAIN}", sys.modules[_MAIN])
    sys.modules[_MAIN] = module
    has_run = _answer_for_hydra(invocation, module, run)
    leader = os.getpid()
    try:
        exec(code, vars(module))  # noqa: S102 - the user's own program, as frozen
    except SystemExit as leaving:
        if has_run() or leaving.code not in (None, 0):
            raise
    if os.getpid() != leader:  # the program has forked a process that has other work
        raise SystemExit(0)
    if has_run():
        say(
            "the program has caught the SystemExit by which a job leaves it (`except Exception` lets it pass), so"
            f" what stands after the call of {invocation.function} was executed in this job, too"
        )
        raise SystemExit(0)
    raise NotCalledError(
        f"the program has ended without calling {invocation.function}, which it called when it was launched"
    )


def job_argv(typed: Sequence[str], given: Sequence[int], overrides: Sequence[str]) -> list[str]:
    """``sys.argv`` of a job.

    An override that was typed has the run's value; one that only the sweeper has is appended, so that a process
    that executes ``sys.argv`` composes the same. Words that are the program's own stay.

    :param typed: as the launching program had it
    :param given: which of these words Hydra was given
    :param overrides: the run's
    """
    values = {_key(override): override for override in overrides} | {_MODE: f"{_MODE}=RUN"}
    words = list(typed)
    for place in given:
        if "=" in words[place]:
            words[place] = values.get(_key(words[place]), words[place])
    left_out = {place for place in given if words[place] in _MULTIRUN}
    typed_keys = {_key(typed[place]) for place in given}
    return [
        *(word for place, word in enumerate(words) if place not in left_out),
        *(one for key, one in values.items() if key not in typed_keys and key != _MODE),
    ]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip(_BEGINS_OVERRIDE)


def _main_module(invocation: Invocation, finder: FrozenFinder | None) -> tuple[ModuleType, CodeType]:
    """``__main__`` as Python makes it for a script, or for ``python -m``."""
    module = ModuleType(_MAIN)
    module.__dict__["__builtins__"] = __builtins__
    file = invocation.file
    loader: Any = SourceFileLoader(_MAIN, file) if finder is None else finder.loader(_MAIN, file)
    name = _MAIN
    if invocation.module:
        spec = _spec_of(invocation.module)
        loader, name = spec.loader, spec.name
        module.__spec__, module.__package__, file = spec, spec.parent, spec.origin or file
    module.__file__, module.__loader__ = file, loader
    module.__dict__["__cached__"] = None
    if not isinstance(loader, FrozenSource):  # a console script, for one, is outside the snapshot
        _check_unchanged(loader, file, invocation)
    return module, loader.get_code(name)


def _check_unchanged(loader: Any, file: str, invocation: Invocation) -> None:
    if invocation.digest is None:
        return
    try:
        found = hashlib.sha256(loader.get_data(file)).hexdigest()
    except OSError as error:
        raise DriftError(f"the main module {file} cannot be read ({error.strerror})") from error
    if found != invocation.digest:
        raise DriftError(f"the main module {file} is not the one that was launched: it was changed since")


def _spec_of(name: str) -> Any:
    """As ``python -m`` finds it; the parent package is imported."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{name}.{_MAIN}")
    if spec is None or spec.loader is None:
        raise DriftError(f"the main module {name} is not in the snapshot of the code, nor in the live tree")
    return spec


def _answer_for_hydra(
    invocation: Invocation, module: ModuleType, run: Callable[[Callable[..., Any]], NoReturn]
) -> Callable[[], bool]:
    """Make the program's call of Hydra, for this sweep, the run. Its calls for other sweeps do nothing.

    :return: says whether the run has taken place
    """
    import hydra._internal.utils
    import hydra.main  # noqa: F401 - so that it is in sys.modules

    before = 0

    def answer(*arguments: Any, **named: Any) -> None:
        nonlocal before
        function = named["task_function"] if "task_function" in named else arguments[2]
        if function_name(function) != invocation.function:
            return
        before += 1
        if before == invocation.ordinal + 1:
            vars(module).update(invocation.drawn)
            run(function)

    # What a decorated function calls, and what decorators of other libraries import.
    for name in ("hydra.main", "hydra._internal.utils"):
        vars(sys.modules[name])["_run_hydra"] = answer
    return lambda: before > invocation.ordinal


def of_program(error: BaseException) -> TracebackType | None:
    """An exception's traceback without the frames that come before those of the program."""
    trace = error.__traceback__
    while trace is not None and is_own_file(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace or error.__traceback__


def is_own_file(file: str) -> bool:
    """Whether a file of code is hpcorch's."""
    return file.startswith(_OURS)
