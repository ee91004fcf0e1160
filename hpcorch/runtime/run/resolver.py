"""``${hpcorch:seed}`` and the like: what a configuration may ask of the run, for code that imports nothing of ours.

Hydra loads the launcher's plugin, and with it this module, at the start of every program: the run is loaded when
somebody asks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hpcorch.runtime.program import configuration as hydra_versions

if TYPE_CHECKING:
    from hpcorch.runtime.run.run import Run

VALUES: Mapping[str, Callable[[Run], Any]] = {
    "run": lambda run: run.id,
    "seed": lambda run: run.seed,
    "attempt": lambda run: run.attempt,
    "directory": lambda run: str(run.directory),
    "checkpoint_dir": lambda run: str(run.checkpoint_dir),
    "resume": lambda _run: os.environ.get("HPCORCH_RESUME") or None,
}
"""What ``${hpcorch:NAME}`` gives in a configuration."""


def resolve(name: str) -> Any:
    """The value of ``${hpcorch:name}``.

    :raises hpcorch.errors.UsageError: there is none of that name
    """
    from hpcorch.errors import UsageError
    from hpcorch.runtime.run.run import current_run

    if name not in VALUES:
        raise UsageError(f"${{hpcorch:{name}}} is not defined; these are: {', '.join(sorted(VALUES))}")
    return VALUES[name](current_run())


def register_resolver() -> None:
    """Give ``${hpcorch:...}`` its meaning, in this process."""
    hydra_versions.register_resolver("hpcorch", resolve, replace=True)
