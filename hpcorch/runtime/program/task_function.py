"""The task file of a launch: the user's function and Hydra's state, for all runs.

``sys.path`` of the launching process travels outside the inner pickles, since loading them imports the user's
modules: ``python train.py`` has the script's folder on the path, ``python -m hpcorch.runtime`` has not.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcorch.errors import DriftError, UsageError
from hpcorch.journal.manifest import digest
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.program.main_module import MainFunction, find_main_function, load_main_function, mark_classes
from hpcorch.runtime.program.snapshot import Snapshot

FROM_SNAPSHOT, FROM_PICKLE = "snapshot", "pickle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What all runs of a launch call, and the Hydra state that they call it in.

    :param main: where a function of ``__main__`` is from, ``snapshot`` or ``pickle``; None for others
    :param problem: why it is from its pickle
    """

    function: Callable[[Any], Any]
    hydra_context: Any
    singletons: Mapping[type, Any]
    main: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFile:
    """A task file, verified and not unpickled yet: that imports the user's modules."""

    sys_path: list[str]
    main: MainFunction | None
    function: bytes
    hydra: bytes


def dump_task(task: Task) -> bytes:
    """The content of a task file.

    :raises UsageError: the function, or something that it refers to, cannot be pickled
    """
    main = find_main_function(task.function)
    try:
        function = dumped(task.function)
        hydra = dumped((task.hydra_context, dict(task.singletons)))
    except Exception as error:
        name = getattr(task.function, "__qualname__", repr(task.function))
        raise UsageError(
            f"the task function {name} cannot be sent to the jobs, because something that it refers to cannot be"
            f" pickled ({type(error).__name__}: {error}): open files, locks, connections and the like must be made"
            " inside the function, not at module level or in an enclosing function"
        ) from error
    return pickle.dumps(TaskFile(sys_path=list(sys.path), main=main, function=function, hydra=hydra))


def dumped(value: Any) -> bytes:
    """A pickle in which a class of ``__main__`` is one with the class of that name in the main module of a job."""
    from hpcorch.runtime.checkpoint.pickling import dump

    mark_classes(sys.modules["__main__"])
    sink = io.BytesIO()
    dump(value, sink)
    return sink.getvalue()


def read_task(path: Path, expected_digest: str) -> TaskFile:
    """Read a task file.

    :raises DriftError: the file is not the one that was frozen
    :raises OSError: it cannot be read
    """
    content = path.read_bytes()
    found = digest(content)
    if found != expected_digest:
        raise DriftError(
            f"the task file {path} was changed after submission: frozen {expected_digest}, found {found}. Submit"
            " the run again to run the file as it is now"
        )
    read: TaskFile = pickle.loads(content)  # noqa: S301 - our own file, its digest just compared
    return read


def for_changed_code(content: bytes) -> bytes:
    """A task file that calls the function of the same name in code that was changed since.

    :raises UsageError: the function was sent as a copy, which changes of the code do not reach
    """
    file: TaskFile = pickle.loads(content)  # noqa: S301 - our own file, whose digest the caller has compared
    if file.main is None:
        if b"cloudpickle" in file.function:
            raise UsageError(
                "the task function is no function of a module, so it was sent to the jobs as a copy, which has the"
                " code of the launch: to run it as it is now, launch the program"
            )
        return content
    # What the module sets may be what was corrected.
    return pickle.dumps(replace(file, main=replace(file.main, variables={})))


def load_task(file: TaskFile, snapshot: Snapshot | None) -> Task:
    """Set the import path and load the task, its function from the snapshot if that is possible.

    :raises DriftError: something is imported that was not frozen, and the policy is to refuse
    """
    if snapshot is not None:
        snapshot.enter(file.sys_path, Path.cwd())
    else:
        sys.path[:] = [*file.sys_path, *(entry for entry in sys.path if entry not in file.sys_path)]
    function, main, problem = None, None, None
    if file.main is not None:
        function, problem = _from_snapshot(file.main, snapshot)
        main = FROM_SNAPSHOT if function is not None else FROM_PICKLE
    if function is None:
        function = pickle.loads(file.function)  # noqa: S301 - from a verified file
    hydra_context, singletons = pickle.loads(file.hydra)  # noqa: S301 - likewise
    return Task(function=function, hydra_context=hydra_context, singletons=singletons, main=main, problem=problem)


def _from_snapshot(main: MainFunction, snapshot: Snapshot | None) -> tuple[Callable[[Any], Any] | None, str | None]:
    if snapshot is None:
        return None, "there is no snapshot"
    move = snapshot.move
    frozen = move(main.file, cwd=Path("/"))
    if frozen == main.file or not Path(frozen).is_file():
        return None, f"{main.file} is not in the snapshot"
    return load_main_function(main, root=str(move.root), tree=str(move.tree), file=frozen)
