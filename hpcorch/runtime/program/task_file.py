"""The task file of a launch: the program that jobs execute, and Hydra's state, for all runs.

Where the program cannot be executed again, the function is sent as a pickle. ``sys.path`` of the launching process
travels outside the inner pickles, since loading them imports the user's modules: ``python train.py`` has the
script's folder on the path, ``python -m hpcorch.runtime`` has not.
"""

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcorch.errors import DriftError, ForeignFileError, UsageError
from hpcorch.journal.files import read_regular
from hpcorch.model.states import Entry
from hpcorch.model.values import digest
from hpcorch.quick_dataclasses import dataclass

if TYPE_CHECKING:
    from hpcorch.runtime.program.main_module import SentMain

log = logging.getLogger(__name__)

_AGAIN = "submit the run again to run the program as it is now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """A program that is executed again up to its call of a function.

    :param file: absolute path of the main module's file, as Python has it
    :param digest: of that file, SHA-256 in hexadecimal; None for a program that may have been changed since
    :param module: the name that ``python -m`` was given; empty for a script
    :param argv: ``sys.argv`` as it was when the program began
    :param given: which of these words Hydra was given: the others are the program's own
    :param cwd: the working directory in which it began; None if that is the one of the launch
    :param function: module and qualified name of what :func:`hydra.main` decorates
    :param ordinal: which of the program's sweeps of that function this is, from 0
    :param drawn: variables of the main module that it drew from a clock or from chance, with their values
    """

    file: str
    digest: str | None
    module: str
    argv: list[str]
    given: tuple[int, ...]
    cwd: str | None
    function: str
    ordinal: int
    drawn: Mapping[str, Any]


def function_name(function: Callable[..., Any]) -> str:
    """What a task function is known by in its program, in each process that executes it."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '')}.{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What all runs of a launch execute, and the Hydra state that they do it in.

    :param invocation: the program; None to send the function
    :param problem: why the function is sent; None if the program is executed
    """

    function: Callable[[Any], Any]
    hydra_context: Any
    singletons: Mapping[type, Any]
    invocation: Invocation | None
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFile:
    """A task file, verified and not unpickled yet: that imports the user's modules.

    :param function: the pickle of the function; None if the program is executed
    :param main: the main module of the launch, if the function is sent
    :param hydra: the pickle of Hydra's state
    """

    sys_path: list[str]
    invocation: Invocation | None
    problem: str | None
    function: bytes | None
    main: SentMain | None
    hydra: bytes


def task_here(function: Callable[[Any], Any], hydra_context: Any, *, entry: str, ordinal: int) -> Task:
    """What jobs execute: the program that called Hydra, unless it cannot be executed again or is not to be.

    :param entry: what the launch asks for
    :param ordinal: which of this process's sweeps of that function it is, from 0
    """
    from hydra.core.singleton import Singleton

    from hpcorch.runtime.program.calling_program import NotRepeatableError, find_invocation

    problem, invocation = None, None
    if entry == Entry.FUNCTION:
        problem = "hydra.launcher.entry=function asks for it"
    else:
        try:
            invocation = find_invocation(function, ordinal=ordinal)
        except NotRepeatableError as error:
            problem = str(error)
            log.info("Jobs get the function alone, as a pickle, since %s", problem)
    return Task(
        function=function,
        hydra_context=hydra_context,
        singletons=Singleton.get_state(),
        invocation=invocation,
        problem=problem,
    )


def dump_task(task: Task) -> bytes:
    """The content of a task file.

    :raises UsageError: something that has to be sent cannot be pickled
    """
    from hpcorch.runtime.program.main_module import dumped, send_main

    try:
        function = dumped(task.function) if task.invocation is None else None
        hydra = dumped((task.hydra_context, dict(task.singletons)))
    except Exception as error:
        name = getattr(task.function, "__qualname__", repr(task.function))
        raise UsageError(
            f"the task function {name} cannot be sent to the jobs, because something that it refers to cannot be"
            f" pickled ({type(error).__name__}: {error}). It has to be sent since {task.problem}: make open files,"
            " locks, connections and the like inside the function, not at module level or in an enclosing function"
        ) from error
    return pickle.dumps(
        TaskFile(
            sys_path=list(sys.path),
            invocation=task.invocation,
            problem=task.problem,
            function=function,
            main=None if function is None else send_main(task.function),
            hydra=hydra,
        )
    )


def read_task(path: Path, expected_digest: str) -> TaskFile:
    """Read a task file.

    :raises DriftError: the file is not the one that was frozen, is missing, or belongs to another user
    :raises OSError: it cannot be read
    """
    try:
        content = read_regular(path, own=True, of_any_size=True)
    except ForeignFileError as error:
        raise DriftError(str(error)) from None
    except FileNotFoundError:
        raise DriftError(f"the task file {path} is missing: {_AGAIN}") from None
    found = digest(content)
    if found != expected_digest:
        raise DriftError(
            f"the task file {path} was changed after submission: frozen {expected_digest}, found {found}: {_AGAIN}"
        )
    try:
        read: TaskFile = pickle.loads(content)  # noqa: S301 - our own file, its digest just compared
    except Exception as error:
        raise DriftError(
            f"the task file {path} cannot be read by the hpcorch that is installed now ({error}): {_AGAIN}"
        ) from error
    return read


def for_changed_code(file: TaskFile, sources: tuple[bytes, bytes] | None) -> bytes:
    """A task file that executes the program as it is now, although it was changed since.

    :param sources: the main module's, then and now; None if it is not among the frozen code
    :raises UsageError: the function was sent as a copy, which changes of the code do not reach
    """
    if file.invocation is not None:
        from hpcorch.runtime.program.drawn import still_drawn

        drawn = file.invocation.drawn if sources is None else still_drawn(file.invocation.drawn, *sources)
        return pickle.dumps(replace(file, invocation=replace(file.invocation, digest=None, drawn=drawn)))
    if file.function is not None and b"cloudpickle" in file.function:
        raise UsageError(
            "the task function is no function of a module, so it was sent to the jobs as a copy, which has the"
            " code of the launch: to run it as it is now, launch the program"
        )
    main = file.main and replace(file.main, definitions=None)
    return pickle.dumps(replace(file, main=main))


def load_function(file: TaskFile) -> Callable[[Any], Any]:
    """The function of a task file that has one; the modules that it is from are imported."""
    assert file.function is not None
    function: Callable[[Any], Any] = pickle.loads(file.function)  # noqa: S301 - from a verified file
    return function


def enter_hydra(file: TaskFile) -> Any:
    """Put this process into the Hydra state of the launching one; Hydra's context.

    The classes of the main module must be there already, so that configurations are of them.
    """
    from hydra.core.singleton import Singleton
    from hydra.core.utils import setup_globals

    from hpcorch.runtime.program.main_module import mark_classes

    mark_classes(sys.modules["__main__"])
    hydra_context, singletons = pickle.loads(file.hydra)  # noqa: S301 - from a verified file
    Singleton.set_state(singletons)
    setup_globals()
    return hydra_context
