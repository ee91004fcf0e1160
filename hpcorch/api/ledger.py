"""``hpcorch.Ledger``: what the ledger knows, for notebooks and other programs."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from hpcorch import tunables
from hpcorch.api.records import (
    AttemptRecord,
    CheckpointRecord,
    EventRecord,
    RunRecord,
    SweepRecord,
    attempt_record,
    checkpoint_record,
    event_record,
    run_record,
    sweep_record,
)
from hpcorch.api.selection import Selectable, chosen_by, places, selected, settings_of, since_of, states_of, the_one
from hpcorch.errors import NotFoundError, RecordError, UnavailableError, UsageError
from hpcorch.journal.inbox import announced
from hpcorch.journal.project_search import find_ledger
from hpcorch.ledger import LAST
from hpcorch.ledger import Ledger as OpenLedger
from hpcorch.model.states import UNSETTLED
from hpcorch.services.reports.attempt_history import CHECKPOINT_KINDS, history_of
from hpcorch.services.reports.tables import answer_columns, run_columns
from hpcorch.services.tending.refresh import bring_up_to_date


class Ledger:
    """The ledger of a project, for reading.

    Selectors are those of the command line: ``last``, a sweep's id or the beginning of it, and runs of a sweep such
    as ``last/3-5,9``. A record of a sweep or a run works, too (``Selectable``). Conditions are those of
    ``--where``: ``'model.lr>0.05'``.

    Every call opens the file, reads it and closes it. So answers are as new as the file, a notebook that is left
    open blocks no writer, there is nothing to close, and any thread or forked process may call. ``with`` is allowed
    and does nothing.

    Every call takes over sweeps that ``hpcorch.submit``, ``hpcorch sbatch`` or ``hpcorch exec`` has recorded. Only
    ``refresh`` asks how sweeps go on. Nothing else here writes, except that a ledger of an older version is
    migrated first, after a backup beside it. If the ledger cannot be written, answers are what it has.

    Every call may raise ``NotFoundError`` (no such ledger, sweep or run), ``UsageError`` (a selector or condition
    cannot be understood), ``UnavailableError`` (somebody else is writing for long, or the file system does not
    answer) and ``RecordError`` (the file is damaged or not a ledger), all of :mod:`hpcorch.errors`.

    :param path: the ledger's file; by default ``$HPCORCH_LEDGER``, else the nearest one walking up from the working
        directory
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        found = find_ledger(Path.cwd()) if path is None else Path(path).expanduser()
        if found is None:
            raise NotFoundError(
                f"there is no ledger in {Path.cwd()} or above: run a sweep first, go to the project's folder, or"
                " name the ledger, as in hpcorch.Ledger(path)"
            )
        if found.is_dir():
            raise UsageError(f"{found} is a folder: name the ledger's file, mostly {found / '.hpcorch/ledger.db'}")
        self._path = found.absolute()
        self._open()  # what is wrong with it is said at once

    @property
    def path(self) -> Path:
        """The ledger's file."""
        return self._path

    def __repr__(self) -> str:
        return f"hpcorch.Ledger({str(self._path)!r})"

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def sweeps(
        self,
        *,
        limit: int | None = None,
        since: str | datetime | None = None,
        state: str | Iterable[str] | None = None,
        name: str | None = None,
        tags: str | Iterable[str] = (),
    ) -> list[SweepRecord]:
        """Sweeps, the latest first.

        :param limit: at most this many
        :param since: only those created then or later: a datetime, or text such as ``2d`` or ``2026-11-23``
        :param state: only those in one of these states: ``RUNNING``, or several as ``F,TO`` or a list
        :param name: only those whose name contains this, in any case
        :param tags: only those that have all of these
        """
        with self._open() as ledger:
            found = ledger.sweeps(
                limit=limit,
                since=since_of(since),
                states=states_of(state),
                name=name,
                tags=[tags] if isinstance(tags, str) else list(tags),
            )
        return [sweep_record(summary) for summary in found]

    def sweep(self, selector: Selectable = LAST) -> SweepRecord:
        """The sweep that is selected."""
        with self._open() as ledger:
            return sweep_record(ledger.sweep(chosen_by(selector).sweep))

    def runs(
        self, *selectors: Selectable, state: str | Iterable[str] | None = None, where: str | Iterable[str] = ()
    ) -> list[RunRecord]:
        """Runs, in order of selector and index; by default those of the last sweep.

        :param state: only those in one of these states: ``FAILED``, or several as ``F,TO`` or a list
        :param where: only those that meet this condition, or all of several
        """
        with self._open() as ledger:
            return [run_record(run) for run in selected(ledger, selectors, state, where)]

    def run(self, selector: Selectable) -> RunRecord:
        """The run that is selected.

        :raises hpcorch.errors.UsageError: there are several
        """
        with self._open() as ledger:
            return run_record(the_one(ledger, selector))

    def config(self, selector: Selectable) -> dict[str, Any]:
        """The composed configuration of the run that is selected.

        :raises hpcorch.errors.UsageError: there are several
        """
        with self._open() as ledger:
            run = the_one(ledger, selector)
            return ledger.config(run.sweep, run.run)

    def attempts(self, *selectors: Selectable) -> list[AttemptRecord]:
        """The attempts of runs, in order of selector, run, submission and restart; by default of the last sweep."""
        with self._open() as ledger:
            found = [
                attempt
                for sweep, indices in places(ledger, selectors)
                for attempt in ledger.attempts(sweep, runs=indices)
            ]
        return [attempt_record(attempt) for attempt in found]

    def checkpoints(self, *selectors: Selectable) -> list[CheckpointRecord]:
        """The checkpoints that runs saved, in the order of saving; by default of the last sweep's runs."""
        with self._open() as ledger:
            return [
                checkpoint_record(run, saved)
                for run in selected(ledger, selectors)
                for saved in history_of(ledger.events(run.sweep, run.run, kinds=CHECKPOINT_KINDS)).saved
            ]

    def events(self, *selectors: Selectable, kinds: Collection[str] | None = None) -> list[EventRecord]:
        """Events of whole sweeps or of runs, in the order in which they became known; by default of the last sweep.

        :param kinds: only these, such as ``["attempt-ended"]``
        """
        with self._open() as ledger:
            return [
                event_record(event)
                for sweep, indices in places(ledger, selectors)
                for run in ([None] if indices is None else indices)
                for event in ledger.events(sweep, run, kinds=kinds)
            ]

    def table(
        self,
        *selectors: Selectable,
        state: str | Iterable[str] | None = None,
        where: str | Iterable[str] = (),
        config: str | Iterable[str] = (),
    ) -> dict[str, list[Any]]:
        """Runs as a table with one row per run: columns by name, which pandas, polars and Arrow accept as they are.

        The columns are those of ``v_runs``, with some more. Each swept or overridden parameter has a column with
        its name (``model.lr``). Each value of a result that is a mapping has one (``result.loss``, else
        ``result``). Each metric has three (``metrics.loss.last``, ``.min``, ``.max``). If the name of a parameter
        is taken, its column is ``params.NAME``; if it would only repeat the other column, as ``seed`` does, it is
        left out.

        Each column has values of one type (bool, int, float, str, aware datetimes) or None. Parameters and results
        of several types become float where all are numbers, else text, as lists do.

        :param state: as for :meth:`runs`
        :param where: as for :meth:`runs`
        :param config: keys of the composed configuration that get a column, whether or not they were overridden
        :raises hpcorch.errors.UsageError: no run's configuration has such a key
        """
        with self._open() as ledger:
            runs = selected(ledger, selectors, state, where)
            names = {sweep: ledger.sweep(sweep).sweep.name for sweep in {run.sweep for run in runs}}
            settings = settings_of(ledger, runs, [config] if isinstance(config, str) else list(config))
        return run_columns(runs, names, settings)

    def query(self, sql: str) -> dict[str, list[Any]]:
        """The answer to an SQL query on the ledger's views, by columns as in :meth:`table`.

        Times are text. Nothing can be changed.

        :raises hpcorch.errors.UsageError: SQLite does not understand it, or it would write
        """
        with self._open() as ledger:
            return answer_columns(ledger.query(sql))

    def refresh(self, selector: Selectable | None = None) -> list[str]:
        """Read journals, ask Slurm, and do what sweeps need now, as ``--refresh`` does.

        :param selector: a sweep; by default all that are not over, or the latest if there are very many
        :return: sentences on what was done, and on what could not be asked
        :raises hpcorch.errors.UnavailableError: Slurm did not answer, or only the submitter of the sweep can ask;
            for several sweeps, only if this is so for all of them
        """
        troubles = self._take_over()
        with self._open() as ledger:
            if selector is None:
                sweeps = ledger.sweeps(limit=tunables.REFRESHED_SWEEPS, states=UNSETTLED)
            else:
                sweeps = [ledger.sweep(chosen_by(selector).sweep)]
            look = bring_up_to_date(ledger, sweeps, refresh=True)
        if look.exit_code and not look.times:
            error = UnavailableError if look.exit_code == UnavailableError.exit_code else RecordError
            raise error("; ".join(look.notices))
        return [*troubles, *look.notices]

    def _open(self) -> OpenLedger:
        self._take_over()  # what was submitted a moment ago is known, as it is to the command line
        return OpenLedger.open(self._path)

    def _take_over(self) -> list[str]:
        """Take over the sweeps that were announced; a sentence on each for which that failed."""
        if not announced(self._path):
            return []
        from hpcorch.services.adoption.inbox import take_over  # loads the way to Slurm

        return take_over(self._path)
