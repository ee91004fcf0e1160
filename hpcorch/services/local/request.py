"""What a pool on this machine is to execute: runs of one launch, and what each gets of the machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTerms:
    """What a task gets of the machine.

    :param cpus: counted where a pool shares out CPUs
    :param gpus: devices that it gets; it sees no others. None leaves the environment as it is
    :param timeout_s: seconds after which it is stopped; None for no limit
    :param log_folder: where its logs go instead of beside the journals
    """

    cpus: int = 1
    gpus: int | None = None
    timeout_s: float | None = None
    log_folder: str | None = None
    stderr_to_stdout: bool = True
    python_options: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRequest:
    """Runs of one launch that a pool is to execute.

    :param slots: so many tasks run at once
    :param cpus: that tasks share; None where slots alone count
    :param gpus: devices to deal out, as CUDA_VISIBLE_DEVICES names them
    :param terms: of a task
    :param own: run -> its terms, of runs that have others
    :param wait_s: seconds before the first task starts
    :param forks: the program is started once, and the tasks are forked where it calls its function
    """

    sweep: str
    launch: int
    runs: Sequence[int]
    slots: int
    cpus: int | None = None
    gpus: Sequence[str] = ()
    terms: TaskTerms = field(default_factory=TaskTerms)
    own: Mapping[int, TaskTerms] = field(default_factory=dict)
    python: str = sys.executable
    environ: Mapping[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    forks: bool = False

    def terms_of(self, task: int) -> TaskTerms:
        """The terms of the task that executes the run at this place."""
        return self.own.get(self.runs[task], self.terms)
