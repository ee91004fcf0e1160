"""The task file of a launch: the user's function and Hydra's state, as one pickle for all runs.

``sys.path`` of the launching process travels outside the inner pickle, since loading the inner one imports
the user's modules: ``python train.py`` has the script's folder on the path, ``python -m hpcorch.runtime``
has not.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcorch.errors import DriftError, UsageError
from hpcorch.journal.manifest import digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What all runs of a launch call, and the Hydra state that they call it in."""

    function: Callable[[Any], Any]
    hydra_context: Any
    singletons: Mapping[type, Any]


def dump_task(task: Task) -> bytes:
    """The content of a task file.

    :raises UsageError: the function, or something that it refers to, cannot be pickled
    """
    import cloudpickle

    try:
        inner = cloudpickle.dumps((task.function, task.hydra_context, dict(task.singletons)))
    except Exception as error:
        name = getattr(task.function, "__qualname__", repr(task.function))
        raise UsageError(
            f"the task function {name} cannot be sent to the jobs, because something that it refers to cannot be"
            f" pickled ({type(error).__name__}: {error}): open files, locks, connections and the like must be made"
            " inside the function, not at module level or in an enclosing function"
        ) from error
    return pickle.dumps({"sys_path": list(sys.path), "task": inner})


def load_task(path: Path, expected_digest: str) -> Task:
    """Read a task file, restoring ``sys.path`` first.

    :raises DriftError: the file is not the one that was frozen
    :raises OSError: it cannot be read
    """
    content = path.read_bytes()
    found = digest(content)
    if found != expected_digest:
        raise DriftError(
            f"the task file {path} was changed after submission: frozen {expected_digest}, found {found}. Submit"
            " the run again to run what is there now"
        )
    outer = pickle.loads(content)  # noqa: S301 - our own file, its digest just compared
    sys.path[:] = [*outer["sys_path"], *(entry for entry in sys.path if entry not in outer["sys_path"])]
    function, hydra_context, singletons = pickle.loads(outer["task"])  # noqa: S301 - same file
    return Task(function=function, hydra_context=hydra_context, singletons=singletons)
