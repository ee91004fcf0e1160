"""Going on with a sweep when its ledger goes away: deleted, moved, replaced, damaged, full, or locked for long.

The sweep directory holds all events, so whoever waits for a sweep needs no ledger but one that it can make itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TypeVar

from hpcorch import tunables
from hpcorch.errors import NotFoundError, UnavailableError
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.inbox import announce
from hpcorch.journal.layout import LEDGER_NAME, SweepLayout
from hpcorch.journal.reader import owner
from hpcorch.ledger import TROUBLES as LEDGER_TROUBLES
from hpcorch.ledger import Ledger
from hpcorch.ledger.schema.cures import adoption
from hpcorch.model.entities import Sweep
from hpcorch.model.ids import AttemptId
from hpcorch.services.tending.reconcile import Reconciler

_T = TypeVar("_T")


class SteadyReconciler(Reconciler):
    """A reconciler of one sweep, which uses the project's ledger as long as that works.

    A ledger that is not there is made anew. While it cannot be used, the journals are folded in a ledger of this
    process's own, in the folder for temporary files, and the project's is tried again now and then. If the sweep
    has news at the end that the project's ledger does not have, it is announced, and whoever opens that next takes
    it over.

    Use it as a context manager. :attr:`ledger` is the one in use, which may be another after each look: questions
    that must be answered go through :meth:`ask`.
    """

    def __init__(self, path: Path, journal: ControlJournal, tell: Callable[[str], None]) -> None:
        """Open no ledger yet.

        :param path: of the project's ledger
        :param tell: told, once, each sentence on what is wrong with it, and on what is done about that
        """
        self.journal = journal
        self._tell = tell
        self._told: set[str] = set()
        self._path = path
        self._project: Ledger | None = None
        self._own: Ledger | None = None
        self._folder: TemporaryDirectory[str] | None = None
        self._in_use: Ledger | None = None
        self._is_behind = False
        self._was_known = True
        self._try_at = 0.0

    @classmethod
    def of(cls, path: Path, sweep: Sweep, tell: Callable[[str], None]) -> SteadyReconciler:
        """One for a sweep that the ledger has had.

        :raises RecordError: the sweep's record is not in its directory, and the ledger cannot be asked for it
        :raises OSError: it cannot be read
        """
        layout = SweepLayout(Path(sweep.directory))
        made = cls(path, ControlJournal(layout, sweep.id), tell)
        if owner(layout) != sweep.id:
            made.find_journal()
        return made

    def __enter__(self) -> SteadyReconciler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()
        if self._is_behind and self._has_home and not self.is_gone:
            with suppress(OSError):  # `hpcorch ledger adopt` finds it, too
                announce(self._path, self.sweep, self.layout)

    @property
    def ledger(self) -> Ledger:
        """The ledger in use."""
        if self._in_use is None:
            self._in_use = self._projects()
        return self._in_use

    def ingest(self, *, note: bool = False, ended: Collection[AttemptId] = ()) -> None:
        """As :meth:`Reconciler.ingest`; a ledger that cannot be used is no error."""
        if time.monotonic() < self._try_at:
            self._stand_in(note=note, ended=ended)
            return
        try:
            self._in_use = self._projects()
            super().ingest(note=note, ended=ended)
            if not self._was_known:
                self._in_use.note_made_anew()
        except LEDGER_TROUBLES as error:
            self._stand_in(note=note, ended=ended)  # fails likewise if the sweep's record is the trouble
            self._say(f"{error}; sweep {self.sweep} goes on by its journals meanwhile")
            return
        self._is_behind = False
        if not self._was_known:
            self._say(
                f"the ledger {self._path} was lost, and there is a new one that has sweep {self.sweep}:"
                f" {adoption(self._path)} takes in the others"
            )

    def _offsets(self) -> Mapping[str, int]:
        offsets = super()._offsets()
        self._was_known = bool(offsets)
        return offsets

    def ask(self, question: Callable[[Ledger], _T]) -> _T:
        """The ledger's answer, whatever becomes of the ledger in this moment."""
        try:
            return question(self.ledger)
        except LEDGER_TROUBLES as error:
            first = error
        for look in (self.ingest, self._stand_in):
            try:
                look()
                return question(self.ledger)
            except LEDGER_TROUBLES:
                continue
        raise first  # there is no record to make a ledger from

    def _projects(self) -> Ledger:
        """The project's ledger, which is made where there is none."""
        if not self._has_home:
            raise NotFoundError(f"the folder of the ledger {self._path} is gone, with the project's")
        if self._project is None:
            self._project = Ledger.open(self._path, write=True, create=True)
        return self._project

    @property
    def _has_home(self) -> bool:
        """Whether there is a folder for it. Where the whole project is gone, nobody wants that back."""
        return self._path.parent.parent.is_dir()

    def _stand_in(self, *, note: bool = False, ended: Collection[AttemptId] = ()) -> None:
        """Use a ledger of this process's own, and leave the project's alone for a while."""
        try:
            self._in_use = self._made()
            super().ingest(note=note, ended=ended)
        except BaseException:
            self._in_use = None
            raise
        if time.monotonic() >= self._try_at:
            self._try_at = time.monotonic() + tunables.LEDGER_RETRY_S
        self._is_behind = True

    def _made(self) -> Ledger:
        if self._own is None:
            try:
                self._folder = TemporaryDirectory(prefix="hpcorch-ledger-")
            except OSError as error:
                raise UnavailableError(
                    f"there is no room for a ledger in the folder for temporary files ({error.strerror}): free"
                    " some, or choose another with $TMPDIR"
                ) from error
            self._own = Ledger.open(Path(self._folder.name) / LEDGER_NAME, write=True, create=True, alone=True)
        return self._own

    def _say(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            self._tell(sentence)
