"""``hpcorch.current_run()``: what a task can read of its run and ask it to do.

Outside a job, and in processes that a task starts, everything here is harmless: nothing is saved, nothing is
asked to stop. So the same program runs in a notebook.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hpcorch.journal.access import make_output_folder
from hpcorch.runtime.run.checkpoint import KEEP, Checkpoint
from hpcorch.runtime.run.seeding import seed_libraries

if TYPE_CHECKING:
    from hpcorch.runtime.run.active import ActiveRun
    from hpcorch.runtime.run.metrics import Summary

T = TypeVar("T")


class Run:
    """The run that this process belongs to.

    :ivar id: ``SWEEP/INDEX``; empty outside a job
    :ivar attempt: the name of this attempt, such as ``3.s0.r1``; empty outside a job
    :ivar seed: the run's seed; 0 outside a job
    :ivar directory: the run's output directory; the working directory outside a job
    :ivar rank: number of this process among the run's tasks, from 0
    :ivar ranks: how many tasks the run has
    """

    def __init__(self, environ: Mapping[str, str], active: ActiveRun | None = None) -> None:
        self._active = active
        if active is not None:
            os.register_at_fork(after_in_child=self._leave)
        self.id = environ.get("HPCORCH_RUN", "")
        self.attempt = environ.get("HPCORCH_ATTEMPT", "")
        seed = environ.get("HPCORCH_SEED", "")
        self.seed = int(seed) if seed.isdecimal() else 0
        self.directory = Path(environ.get("HPCORCH_RUN_DIR") or Path.cwd())
        self.rank = 0 if active is None else active.rank
        self.ranks = 1 if active is None else active.ranks

    def _leave(self) -> None:
        """In a process that the task has forked: be harmless. Journal and checkpoints are the parent's."""
        self._active = None

    @property
    def in_job(self) -> bool:
        """Whether this process executes a run. If not, nothing is saved or recorded."""
        return self._active is not None

    @property
    def checkpoint_dir(self) -> Path:
        """A directory for the checkpoints of other frameworks. It is created at the first access."""
        path = Path(os.environ.get("HPCORCH_CHECKPOINT_DIR") or self.directory / "checkpoints")
        make_output_folder(path)
        return path

    @property
    def metrics(self) -> Summary:
        """The metrics so far, including those from before the restored checkpoint.

        :return: name -> ``last``, ``min`` and ``max``, each as ``[step, value]``
        """
        return {} if self._active is None else self._active.metrics

    @property
    def stop_requested(self) -> bool:
        """Whether the run should save and end: it is preempted, cancelled or near its time limit.

        Once you have asked, signals no longer interrupt the task, so ask regularly. A task that was told True and
        returns counts as stopped, not as completed.
        """
        return False if self._active is None else self._active.stop_requested

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the process has left at least; None if no limit is known."""
        return None if self._active is None else self._active.seconds_left

    def seed_everything(self) -> list[str]:
        """Seed ``random``, NumPy and PyTorch (CPU and CUDA), if they are imported, with the run's seed.

        This was done before the task was called, for the libraries that were imported then.

        :return: the names of the libraries
        """
        libraries = seed_libraries(self.seed)
        if self._active is not None:
            self._active.seeded(self.seed, libraries)
        return libraries

    def register_generator(self, name: str, generator: Any) -> None:
        """Save and restore the state of a generator of your own with each checkpoint.

        Call it before :meth:`restore`, which sets the state. The global generators of ``random``, NumPy and PyTorch
        need no registration.

        :param generator: of ``numpy.random``, ``random`` or ``torch``
        """
        if self._active is not None:
            self._active.register_generator(name, generator)

    def restore(self) -> Checkpoint | None:
        """The newest valid checkpoint of the run; None if there is none.

        Sets the random generators and the metrics to their states at the save. So call it just before the training
        starts, after everything that draws random numbers, such as the first weights of a model. Broken checkpoints
        are skipped and recorded.

        :raises hpcorch.errors.CheckpointError: it is valid, but its content cannot be unpickled here
        """
        return None if self._active is None else self._active.restore()

    def save(self, step: int, state: Any = None, *, keep: int = KEEP) -> None:
        """Save a checkpoint, atomically and durably, with the states of the random generators.

        :param state: plain objects, NumPy arrays, state dicts of PyTorch, nested or not; or a function giving it
        :param keep: how many of the newest checkpoints to keep
        :raises hpcorch.errors.CheckpointError: it could not be saved; earlier checkpoints are intact
        """
        if self._active is not None:
            self._active.save(step, state, keep=keep)

    @contextmanager
    def save_files(self, step: int, state: Any = None, *, keep: int = KEEP) -> Iterator[Path]:
        """Save a checkpoint of files that another framework writes to the directory that the block gets.

        The checkpoint counts once the block has ended without an error. :attr:`Checkpoint.files` has the files
        later.

        :raises hpcorch.errors.CheckpointError: it could not be saved; earlier checkpoints are intact
        """
        if self._active is not None:
            with self._active.save_files(step, state, keep=keep) as directory:
                yield directory
            return
        import tempfile

        with tempfile.TemporaryDirectory() as folder:  # what is written is thrown away
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
        """Save if a save is due, and end if the run should end. Call it at the end of the loop's body.

        Saves at every call, or when a multiple of ``every_steps`` is reached, or ``every_minutes`` after the last
        save, whichever comes first; and always before the run ends. If a save fails, this is reported and recorded,
        and the task goes on. If a run has several tasks, each makes the same calls and saves its own state.

        :param step: completed steps, in a unit that you choose, ascending
        :param state: as for :meth:`save`; a function is called only when a save is due
        :raises hpcorch.Stopped: the run is to end; catch it only to clean up
        """
        if self._active is not None:
            self._active.checkpoint(step, state, every_steps=every_steps, every_minutes=every_minutes, keep=keep)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within the block, raise an exception as soon as the run should end: for code without a loop of its own.

        Without the block this is so until a task uses :attr:`stop_requested` or :meth:`checkpoint`.

        :raises hpcorch.Stopped: the run is to end
        """
        with nullcontext() if self._active is None else self._active.interruptible():
            yield

    def log(self, step: int, /, **metrics: float) -> None:
        """Record metrics of a step. Takes microseconds; the values are on disk a few seconds later.

        :raises hpcorch.errors.UsageError: a value is not a number
        """
        if self._active is not None:
            self._active.log(step, metrics)

    @contextmanager
    def lease(self, resource: str, count: int | None = None) -> Iterator[Any]:
        """Hold slots of a shared resource within the block, for example while data are staged.

        Waits until they are free. Whoever asked first is served first, over all users and nodes. The block gets an
        object with ``check()``, which raises the same error as the end of the block.

        :param resource: a resource of the site profile with ``enforced: lease``
        :param count: slots; by default what the launcher key ``resources`` says, else one
        :raises hpcorch.errors.UsageError: there is no such resource, or it has fewer slots
        :raises hpcorch.errors.LeaseLostError: this process was stopped for so long that others took the slots
        """
        # Outside a job nothing is shared.
        with nullcontext() if self._active is None else self._active.lease(resource, count) as lease:
            yield lease

    def batches(self, loader: Iterable[T]) -> Iterator[T]:
        """Iterate over one epoch of data, so that a checkpoint can be saved in the middle of it.

        After :meth:`restore` the first iteration repeats the order of the interrupted one, skips the batches that
        were done, and continues with the next. The order must be drawn when the iteration begins, as PyTorch's
        DataLoader does, from random generators that are saved with checkpoints.
        """
        return iter(loader) if self._active is None else self._active.batches(loader)

    def record_input(self, path: str | os.PathLike[str]) -> str:
        """Record which data the result depends on: a file, or a directory with everything in it.

        Its digest is recorded; what has the same size and times as before is not read again. A later attempt of the
        run that finds other data there is warned, or refused (``hydra.launcher.drift.inputs``).

        :return: the digest, ``sha256:<hexadecimal>``; outside a job nothing is recorded
        :raises hpcorch.errors.NotFoundError: there is nothing at that path
        :raises hpcorch.errors.UnavailableError: it cannot be read, or somebody writes to it
        """
        if self._active is not None:
            return self._active.record_input(path)
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
    """Within the block, ``run`` is the current run in this process, but not in processes that it forks."""
    global _current  # noqa: PLW0603 - one process executes one run
    _current = (os.getpid(), run)
    try:
        yield
    finally:
        _current = None
