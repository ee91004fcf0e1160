"""``hpcorch.current_run()``: what a task knows of its run, and may ask of it.

Outside a job, and in processes that a task starts, everything here is harmless: nothing is saved, nothing is
asked to stop. So the same program runs in a notebook.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.run.metrics import Summary
from hpcorch.runtime.run.seeding import seed_libraries

T = TypeVar("T")

# One to go on from, and one before it, should the newer one be broken.
KEEP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint that was restored.

    :param step: that it was saved at
    :param state: what was saved, made anew
    :param files: the directory that :meth:`Run.save_files` filled; only to be read
    """

    step: int
    state: Any
    files: Path | None = None


class Run:
    """The run that this process belongs to.

    :ivar id: ``SWEEP/INDEX``; empty outside a job
    :ivar attempt: which execution of the run this is, such as ``3.s0.r1``; empty outside a job
    :ivar seed: the run's seed; 0 outside a job
    :ivar directory: the run's output directory; the working directory outside a job
    :ivar rank: number of this process among the run's tasks, from 0
    :ivar ranks: how many tasks the run has
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.id = environ.get("HPCORCH_RUN", "")
        self.attempt = environ.get("HPCORCH_ATTEMPT", "")
        seed = environ.get("HPCORCH_SEED", "")
        self.seed = int(seed) if seed.isdecimal() else 0
        self.directory = Path(environ.get("HPCORCH_RUN_DIR") or Path.cwd())
        self.rank = 0
        self.ranks = 1

    @property
    def in_job(self) -> bool:
        """Whether this process is the one that executes a run; if not, nothing is saved or recorded."""
        return False

    @property
    def checkpoint_dir(self) -> Path:
        """A directory for checkpoints that other frameworks write by themselves. Made when it is asked for."""
        path = Path(os.environ.get("HPCORCH_CHECKPOINT_DIR") or self.directory / "checkpoints")
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def metrics(self) -> Summary:
        """The metrics so far, those before the restored checkpoint included.

        :return: name -> ``last``, ``min`` and ``max``, each as ``[step, value]``
        """
        return {}

    @property
    def stop_requested(self) -> bool:
        """Whether the run is to save and to end: preempted, cancelled, near its time limit.

        Whoever asks has to do so regularly: signals interrupt the task no more from then on. A task that was told
        so and returns counts as stopped, not as completed.
        """
        return False

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the process has at least, as far as is known; None if there is no limit."""
        return None

    def seed_everything(self) -> list[str]:
        """Seed ``random``, NumPy and PyTorch (CPU and CUDA), those that are imported, with the run's seed.

        The run has done so for what was imported when its task was called.

        :return: the names of the libraries
        """
        return seed_libraries(self.seed)

    def register_generator(self, name: str, generator: Any) -> None:
        """Have the state of a generator of the task's own travel with checkpoints.

        To be called before :meth:`restore`, which sets its state. The generators of ``random``, NumPy and PyTorch
        that everybody shares travel by themselves.

        :param generator: of ``numpy.random``, ``random`` or ``torch``
        """

    def restore(self) -> Checkpoint | None:
        """The newest valid checkpoint of the run; None if there is none.

        Sets the random generators to their states at the save, and metrics to what they were. So it is to be called
        just before the training goes on: after a model that draws its first weights was made. Broken checkpoints
        are passed over, and recorded.

        :raises hpcorch.errors.CheckpointError: it is valid, and what it holds cannot be made anew here
        """
        return None

    def save(self, step: int, state: Any = None, *, keep: int = KEEP) -> None:
        """Save a checkpoint, atomically and durably, with the states of the random generators.

        :param state: plain objects, NumPy arrays, state dicts of PyTorch, in any nesting, or a function giving it
        :param keep: so many of the newest checkpoints stay
        :raises hpcorch.errors.CheckpointError: it could not be saved; earlier ones are as they were
        """

    @contextmanager
    def save_files(self, step: int, state: Any = None, *, keep: int = KEEP) -> Iterator[Path]:
        """Save a checkpoint of files that another framework writes into the directory that the block is given.

        The checkpoint counts when the block ends well; what it wrote is found in :attr:`Checkpoint.files`.

        :raises hpcorch.errors.CheckpointError: it could not be saved; earlier ones are as they were
        """
        import tempfile

        del step, state, keep  # what is written is thrown away
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)

    def checkpoint(
        self,
        step: int,
        state: Any = None,
        *,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        keep: int = KEEP,
    ) -> None:
        """The one call for the end of a loop's body: save if it is time, and end if the run is to end.

        Saves at every call, or when a multiple of ``every_steps`` was reached, or ``every_minutes`` after the last
        save, whichever comes first; and always before the run ends. A save that fails is told and recorded, and
        the task goes on. Of several tasks of a run each makes the same calls, and saves a state of its own.

        :param step: completed steps, in a unit of the task's choice, ascending
        :param state: as for :meth:`save`; a function is called only when a save is due
        :raises hpcorch.Stopped: the run is to end; not to be caught, but for clean-up
        """

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within the block a wish to end is an exception at once: for code that has no loop of its own.

        This is how signals arrive anyway until a task uses :attr:`stop_requested` or :meth:`checkpoint`.

        :raises hpcorch.Stopped: the run is to end
        """
        yield

    def log(self, step: int, /, **metrics: float) -> None:
        """Record metrics of a step. Costs microseconds; what was logged is on disk some seconds later.

        :raises hpcorch.errors.UsageError: a value is not a number
        """

    @contextmanager
    def lease(self, resource: str, count: int | None = None) -> Iterator[Any]:
        """Hold slots of a shared resource within the block, such as while data are staged.

        Waits until they are free; who asked first is served first, over all users and nodes. The block is given
        something with ``check()``, which raises as the end of the block does.

        :param resource: a resource of the site profile with ``enforced: lease``
        :param count: slots; what the launcher key ``resources`` says of it, or one, if not given
        :raises hpcorch.errors.UsageError: there is no such resource, or it has fewer slots
        :raises hpcorch.errors.LeaseLostError: this process was stopped for so long that others took the slots
        """
        del resource, count  # there is nobody to share with
        yield None

    def batches(self, loader: Iterable[T]) -> Iterator[T]:
        """Iterate over one epoch of data so that a checkpoint may be saved in the middle of it.

        After :meth:`restore` the first iteration begins in the order of the one that was interrupted, passes over
        the batches that were done, and goes on with the next. The order must be drawn when the iteration begins, as
        PyTorch's DataLoader does it, from random generators that travel with checkpoints.
        """
        yield from loader

    def record_input(self, path: str | os.PathLike[str]) -> str:
        """Put on record which data the result depends on: a file, or a directory with all that it holds.

        It is digested, which is spared where size and times are as they were. A later attempt of the run that finds
        something else there is told so, or is refused (``hydra.launcher.drift.inputs``).

        :return: the digest, ``sha256:<hexadecimal>``; outside a job nothing is recorded
        :raises hpcorch.errors.NotFoundError: there is nothing at that path
        :raises hpcorch.errors.UnavailableError: it cannot be read, or somebody writes to it
        """
        from hpcorch.provenance.inputs import digest_input

        return f"sha256:{digest_input(Path(path)).digest}"


_current: tuple[int, Run] | None = None


def current_run() -> Run:
    """The run that this process executes, or a harmless stand-in."""
    if _current is not None and _current[0] == os.getpid():
        return _current[1]
    return Run(os.environ)


@contextmanager
def as_current(run: Run) -> Iterator[None]:
    """Within the block, in this process and not in those that it forks, ``run`` is the current one."""
    global _current  # noqa: PLW0603 - one process executes one run
    _current = (os.getpid(), run)
    try:
        yield
    finally:
        _current = None


def made(state: Any) -> Any:
    """A state, or what a function gives. (A module of PyTorch can be called, too, and is a state.)"""
    from types import FunctionType, MethodType

    return state() if isinstance(state, (FunctionType, MethodType)) else state
