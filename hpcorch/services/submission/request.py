"""A request to Slurm for some runs of a launch, and its batch script.

On its way to sbatch a run is in a manifest, then with those that ask for the same in an
:class:`~hpcorch.services.submission.arrays.ArrayPlan`, then in a :class:`Request`, which becomes the script's text.
What it asks for is one :class:`~hpcorch.model.keys.launch_keys.LaunchKeys` all the way.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hpcorch.journal.layout import SweepLayout
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.model.processes import PACKED, RUNTIME
from hpcorch.services.logs.paths import LogFiles
from hpcorch.services.recording.submissions import task_words
from hpcorch.services.throttling.state import own_of, tag
from hpcorch.slurm.job_environment import script_exports
from hpcorch.slurm.sbatch.executor import sbatch_text

_THREADS = "OMP_NUM_THREADS"  # OpenBLAS, MKL and PyTorch use it, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Runs of one launch that one array is to execute; array index i executes ``runs[i]``, if it is not packed.

    :param keys: what each of them asks for, as sbatch is told it
    :param changed: the keys that are on record as not the launch's own, as plain values
    :param begin_s: seconds from the submission before which none of them starts
    :param most_tasks: a packed array may have no more
    :param beside: other arrays of the sweep may be at work, so that ``array_parallelism`` is counted over all
    """

    sweep: str
    launch: int
    runs: Sequence[int]
    keys: LaunchKeys
    environ: Mapping[str, str]
    host: str
    changed: Mapping[str, Any] = field(default_factory=dict)
    begin_s: int = 0
    beside: bool = False
    most_tasks: int | None = None

    @property
    def tasks(self) -> int | None:
        """How many tasks a packed array has; None where each run has a task of its own."""
        return self.keys.tasks_for(len(self.runs), self.most_tasks) if self.keys.is_packed else None

    @property
    def at_once(self) -> int | None:
        """How many runs of the sweep may run at once; None if no number was given."""
        return self.keys.asked_parallelism

    @property
    def most_at_work(self) -> int:
        """How many of its runs can be at work at once, whatever lets them."""
        runs = len(self.runs)
        return runs if self.tasks is None else min(runs, self.tasks * self.keys.parallel_runs)

    @property
    def units(self) -> dict[str, int]:
        """What each task takes of all that is counted by throttles."""
        own = {} if self.at_once is None else {own_of(self.sweep): 1}
        return {name: self.keys.parallel_runs * of_run for name, of_run in {**self.keys.throttles, **own}.items()}

    @property
    def is_throttled(self) -> bool:
        """Whether its array is submitted held, and starts when capacity is free."""
        return bool(self.keys.throttles) or self.beside

    @property
    def throttle(self) -> dict[str, Any] | None:
        """What is recorded of a request that shares throttled resources."""
        if not self.is_throttled:
            return None
        begin = {"begins_at": time.time() + self.begin_s} if self.begin_s else {}
        return {"units": self.units, "bound": self.elements_at_once, **begin}

    @property
    def elements_at_once(self) -> int | None:
        """How many elements of its array may run at once."""
        return self.keys.tasks_at_once or self.keys.array_parallelism


def log_files(layout: SweepLayout, request: Request, number: int) -> LogFiles:
    return LogFiles(layout=layout, submission=number, folder=request.keys.submitit_folder)


def script_text(layout: SweepLayout, request: Request, *, number: int, token: str) -> str:
    """The batch script of a submission.

    :raises UsageError: a value cannot be written into a batch script
    """
    output, error = log_files(layout, request, number).slurm_patterns()
    return sbatch_text(
        _keys(request),
        array=range(request.tasks or len(request.runs)),
        command=(*(request.keys.python_options or ()), *_task(layout, request, number)),
        log_pattern=output,
        error_pattern=error,
        token=token,
        exports={**script_exports(request.environ), **_threads(request)},
        begin_s=request.begin_s,
    )


def _task(layout: SweepLayout, request: Request, number: int) -> list[str]:
    keys, tasks = request.keys, request.tasks
    words = task_words(
        layout,
        sweep=request.sweep,
        launch=request.launch,
        submission=number,
        runs=request.runs,
        module=RUNTIME if tasks is None else PACKED,
    )
    if tasks is None:
        return words
    words += ["--tasks", str(tasks), "--parallel", str(keys.parallel_per_task), "--isolation", keys.isolation]
    words += ["--separate-stderr"] if not keys.stderr_to_stdout else []
    return [*words, *(f"--python-option={option}" for option in keys.python_options or ())]


def _keys(request: Request) -> LaunchKeys:
    """Those of the request. An array says what of it is counted; a throttled one starts with one task at most."""
    keys = replace(request.keys, array_parallelism=request.elements_at_once)
    if not request.units:
        return keys
    comment = " ".join(filter(None, [keys.comment, tag(request.units, keys.array_parallelism)]))
    keys = replace(keys, comment=comment)
    return replace(keys, array_parallelism=1) if request.is_throttled else keys


def _threads(request: Request) -> dict[str, str]:
    """As many threads as CPUs were asked for, on any node: sums of floats depend on how they are shared out."""
    cpus = request.keys.cpus_per_task
    if cpus is None or _THREADS in request.environ:
        return {}
    return {_THREADS: str(max(1, cpus // request.keys.parallel_runs))}
