"""Removing the files of a sweep: those that belong to it, and nothing else. What the ledger has of it stays."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpcorch.errors import RecordError, RecordGoneError, UnavailableError, UsageError
from hpcorch.journal.layout import STATE_DIR, SweepLayout
from hpcorch.journal.reader import owner
from hpcorch.journal.sweep_folder import belongs_to_sweep
from hpcorch.ledger import Ledger
from hpcorch.ledger.reading.directories import removal_of
from hpcorch.model.entities import Run, Sweep
from hpcorch.model.events import DirectoryRemoved
from hpcorch.model.ids import named_runs
from hpcorch.model.states import Backend, RunState
from hpcorch.model.value_text import agreeing
from hpcorch.services.actions.control import dropped, open_control
from hpcorch.services.actions.own_files import Files
from hpcorch.services.selection.selectors import Selector
from hpcorch.services.tending.reconcile import Reconciler, open_reconciler
from hpcorch.services.tending.unsubmitted import is_unsubmitted
from hpcorch.slurm.protocol import SlurmClient
from hpcorch.users import own_name, stranger

_HYDRAS = "multirun.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What is removed of a sweep, or was.

    :param left: what stays in the directory, and why
    :param discarded: runs that were never submitted, and will not be
    """

    sweep: str
    directory: Path
    files: int
    size: int
    left: tuple[str, ...]
    discarded: tuple[int, ...]

    def as_plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "sweep": self.sweep,
            "directory": str(self.directory),
            "files": self.files,
            "size": self.size,
            "left": list(self.left),
            "discarded": list(self.discarded),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Remover:
    """Removes the files of one's own sweep that is over."""

    sweep: Sweep
    reconciler: Reconciler

    @property
    def _ledger(self) -> Ledger:
        return self.reconciler.ledger

    @property
    def _layout(self) -> SweepLayout:
        return self.reconciler.layout

    def plan(self) -> Removal:
        """What would be removed.

        :raises OSError: the directory cannot be read
        """
        return self._walk(removes=False)

    def carry_out(self, plan: Removal) -> Removal:
        """Remove it, and note that in the ledger before the first file goes. Killed, it is done again.

        :return: what was removed
        :raises UsageError: a run was submitted since
        :raises RecordGoneError: another process has removed it
        :raises UnavailableError: another process decides about the sweep at this moment
        """
        try:
            with self.reconciler.journal.locked():  # nobody submits meanwhile
                self.take_over()
                check_over(self.sweep, self._ledger)
                self._discard(plan)
                if removal_of(self._ledger, self.sweep.id) is None:
                    self._ledger.record(self.sweep.id, self._fact(plan))
                done = self._walk(removes=True)
        except (RecordError, OSError, UnavailableError) as error:
            if isinstance(error, RecordGoneError) or self._layout.control.exists():
                raise
            raise RecordGoneError(f"another process has removed the files of sweep {self.sweep.id}") from error
        self._remove_empty()
        return replace(done, discarded=plan.discarded)

    def take_over(self) -> None:
        """Bring the ledger up to date. After a removal that was interrupted, journals may be missing.

        :raises RecordGoneError: the directory is gone
        """
        try:
            self.reconciler.ingest()
        except RecordError:
            if removal_of(self._ledger, self.sweep.id) is None:
                raise
        if self.reconciler.why_gone is not None:
            raise RecordGoneError(self.reconciler.why_gone)

    def _discard(self, plan: Removal) -> None:
        runs = {run.run for run in self._ledger.runs(self.sweep.id, states=[RunState.PLANNED])}
        reason = f"its sweep's files were removed by {own_name()} before it was submitted"
        words = dropped([run for run in plan.discarded if run in runs], reason)
        if words:
            self.reconciler.journal.append(*words, durable=True)
            self.reconciler.ingest()

    def _fact(self, plan: Removal) -> DirectoryRemoved:
        return DirectoryRemoved(
            directory=str(plan.directory),
            files=plan.files,
            size=plan.size,
            user=own_name(),
            uid=os.geteuid(),
            host=socket.gethostname(),
        )

    def _walk(self, *, removes: bool) -> Removal:
        files = Files(self._layout.directory, removes=removes)
        try:
            if owner(self._layout) != self.sweep.id:
                raise RecordGoneError(f"{self._layout.directory} does not hold the record of sweep {self.sweep.id}")
            files.check_unmoved()
            for path in self._paths(files):
                if removes:
                    self.reconciler.journal.confirm()
                files.take(path)
            files.take(self._layout.control.relative_to(self._layout.directory))  # until then it is the sweep's
        finally:
            files.close()
        planned = self._ledger.runs(self.sweep.id, states=[RunState.PLANNED])
        return Removal(
            sweep=self.sweep.id,
            directory=self._layout.directory,
            files=files.count,
            size=files.size,
            left=tuple(files.left),
            discarded=tuple(run.run for run in planned if is_unsubmitted(run)),
        )

    def _paths(self, files: Files) -> Iterator[Path]:
        """What belongs to the sweep, relative to its directory, but for its control journal and the lock."""
        if self._layout.aside is None:
            yield from self._run_directories()
            yield Path(_HYDRAS)
        state = self._layout.state.relative_to(self._layout.directory)
        last = (self._layout.control.name, self._layout.lock.name)
        for path in (state / name for name in files.names(state) if not name.startswith(last)):
            if self._layout.aside is not None or belongs_to_sweep(path):
                yield path

    def _run_directories(self) -> Iterator[Path]:
        top = self._layout.directory
        found = {self._layout.present(Path(run.directory)) for run in self._ledger.runs(self.sweep.id)}
        for path in sorted(path for path in found if path.is_relative_to(top) and path != top):
            if STATE_DIR not in path.relative_to(top).parts:
                yield path.relative_to(top)

    def _remove_empty(self) -> None:
        """Files of the lock that was held, and folders that nothing is left in."""
        with suppress(OSError):
            for path in self._layout.state.glob(f"{self._layout.lock.name}*"):
                if not self._layout.control.exists():  # no other sweep has taken the directory
                    path.unlink()
        for folder in (self._layout.state, self._layout.directory / STATE_DIR, self._layout.directory):
            with suppress(OSError):
                folder.rmdir()


def check_over(sweep: Sweep, ledger: Ledger) -> None:
    """Refuse a sweep of which runs are alive, or may be.

    :raises UsageError: some are
    """
    alive = [run.run for run in ledger.runs(sweep.id) if _is_alive(run)]
    if alive:
        raise UsageError(
            f"{named_runs(alive)} of sweep {sweep.id} {agreeing(len(alive), 'is', 'are')} not over: cancel what is"
            f" left with `hpcorch cancel {sweep.id}`, or wait for it"
        )


def _is_alive(run: Run) -> bool:
    return run.lingers or not (run.state.is_final or is_unsubmitted(run))


def open_removal(writer: Ledger, selector: Selector, client: SlurmClient | None = None) -> Remover:
    """The removal of the files of the sweep that is selected.

    :param writer: open for writing
    :raises NotFoundError: no sweep is selected
    :raises UsageError: runs are selected and no sweep, some are not over, or it belongs to another user
    :raises RecordGoneError: its directory is gone; the text says what became of it
    :raises SlurmUnavailableError: runs may be alive, and Slurm does not answer
    """
    if selector.names_runs:
        raise UsageError("`hpcorch rm` removes the files of a whole sweep: name the sweep alone")
    sweep = writer.sweep(selector.sweep).sweep
    reconciler = open_reconciler(writer, sweep.id)
    remover = Remover(sweep=sweep, reconciler=reconciler)
    if reconciler.why_gone is not None:
        raise RecordGoneError(reconciler.why_gone)
    whose = stranger(reconciler.layout.state)
    if whose is not None:
        raise UsageError(f"sweep {sweep.id} is {whose}'s, and only {whose} removes its files")
    remover.take_over()
    if any(map(_is_alive, writer.runs(sweep.id))):
        if sweep.backend is Backend.LOCAL:
            reconciler.look_local()
        else:
            open_control(writer, selector, client).look()
        check_over(sweep, writer)
    return remover
