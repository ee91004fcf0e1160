"""Typed answers from an open ledger."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import chain, islice, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from hpcorch import tunables
from hpcorch.errors import NotFoundError, RecordError
from hpcorch.ledger.file import LedgerFile
from hpcorch.ledger.reading.answers import Head, LaterEvents, SweepSummary
from hpcorch.ledger.reading.refusals import was_refused
from hpcorch.ledger.schema.connection import QUERIES
from hpcorch.ledger.writing import ingest, rows
from hpcorch.ledger.writing.expansion import SweepKey
from hpcorch.model.entities import Attempt, Launch, Run, Submission
from hpcorch.model.events import Event, Fact
from hpcorch.model.folding.sweep import fold_launch, fold_sweep
from hpcorch.model.ids import AttemptId
from hpcorch.model.states import RunState
from hpcorch.model.value_text import counted
from hpcorch.model.values import patched, values_of
from hpcorch.users import own_name

_P = ParamSpec("_P")
_T = TypeVar("_T")

LAST = "last"
_JOB = "job="
_NO_LIMIT = -1
_SHOWN = 5  # one less than sweep_ids_with_prefix finds


def _opened_once(method: Callable[_P, _T]) -> Callable[_P, _T]:
    """Open the file once for all that a method asks."""

    @wraps(method)
    def opened(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        ledger = args[0]
        assert isinstance(ledger, LedgerReading)
        with ledger.at_one_moment():
            return method(*args, **kwargs)

    return opened


class LedgerReading:
    """The reading half of :class:`hpcorch.ledger.Ledger`."""

    def __init__(self, file: LedgerFile) -> None:
        self._file = file

    @property
    def path(self) -> Path:
        """Of the ledger's file."""
        return self._file.path

    @contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """Within the block the ledger does not change, and is opened once. Writers wait, so it should be short."""
        with self._file.opened():
            yield

    # Where reading stands -----------------------------------------------------------------------------------

    @_opened_once
    def offset(self, sweep: str, source: str) -> int:
        """Where to go on reading one source: 0 if it is not known."""
        found = self._rows("source", self._known_key(sweep), source)
        return max(0, int(found[0][1])) if found else 0

    @_opened_once
    def offsets(self, sweep: str) -> dict[str, int]:
        """Where to go on reading each source of a sweep, for :func:`hpcorch.journal.reader.read_sweep`."""
        return {name: max(0, offset) for name, offset in self._rows("sources", self._known_key(sweep))}

    def head(self) -> Head:
        """The end of the chain of events."""
        with self._file.opened() as connection:
            events, digest = ingest.head(connection)
        return Head(events=events, digest=f"sha256:{digest.hex()}")

    def digest_at(self, events: int) -> str | None:
        """What :meth:`head` returned when the chain had this many events; None if it has fewer."""
        found = self._rows("hash_of", events)
        value = found[0][0] if found else None
        return f"sha256:{value.hex()}" if isinstance(value, bytes) else value

    def since(self, event: int) -> list[LaterEvents]:
        """What became known after the event of that number, in the order of its sweeps' first news."""
        return [
            LaterEvents(
                sweep=sweep,
                events=events,
                runs=tuple(sorted(run for run in json.loads(runs) if run is not None)),
                kinds=tuple(sorted(json.loads(kinds))),
            )
            for sweep, events, runs, kinds in self._rows("events_since", event)
        ]

    # Sweeps -------------------------------------------------------------------------------------------------

    @_opened_once
    def sweeps(
        self,
        *,
        limit: int | None = None,
        since: str | None = None,
        states: Collection[RunState] | None = None,
        name: str | None = None,
        tags: Collection[str] = (),
        refused: bool = True,
    ) -> list[SweepSummary]:
        """Sweeps, the latest first.

        :param limit: at most so many
        :param since: UTC time; only sweeps created then or later
        :param states: only sweeps whose state is one of these
        :param name: only sweeps whose name contains this, in any case
        :param tags: only sweeps that have all of these
        :param refused: also sweeps of which Slurm refused all
        """
        wanted = None if states is None else frozenset(states)
        found = (
            summary
            for summary in self._summaries("read_sweeps")
            if (since is None or summary.sweep.created_at >= since)
            and (wanted is None or summary.state in wanted)
            and (name is None or name.casefold() in summary.sweep.name.casefold())
            and set(tags) <= set(summary.sweep.tags)
            and (refused or summary.state is not RunState.PLANNED or not was_refused(self, summary.sweep.id))
        )
        return list(islice(found, limit))

    @_opened_once
    def sweep(self, selector: str) -> SweepSummary:
        """One sweep, by its id, the beginning of its id, ``last``, or ``job=369``, the id of a job of Slurm's.

        ``last`` passes over sweeps that Slurm refused, as long as there is another.

        :raises NotFoundError: no sweep, or more than one, is selected
        :raises RecordError: the ledger is damaged
        """
        name = self._selected(selector)
        found = next(self._summaries("read_sweep", name), None)
        if found is None:
            raise RecordError(
                f"the ledger {self.path} has the sweep {name}, and not what it is: `hpcorch ledger check` says what"
                " is wrong"
            )
        return found

    def _selected(self, selector: str) -> str:
        if selector == LAST:
            return self._last()
        if selector.startswith(_JOB):
            found = [row[0] for row in self._rows("sweep_id_of_job", selector.removeprefix(_JOB))]
            if not found:
                raise NotFoundError(
                    f"no sweep in {self.path} has the Slurm job {selector.removeprefix(_JOB)}: give the id of the"
                    " job, or of the whole array, as squeue's %F shows it"
                )
            return str(found[0])
        found = [row[0] for row in self._rows("sweep_ids_with_prefix", selector)]
        if not found:
            raise NotFoundError(
                f"no sweep in {self.path} has an id that begins with {selector!r}: see `hpcorch ls`"
            )
        if len(found) > 1 and selector not in found:
            more = ", …" if len(found) > _SHOWN else ""
            raise NotFoundError(
                f"{selector!r} is the beginning of several sweeps' ids ({', '.join(found[:_SHOWN])}{more}):"
                " give more of it"
            )
        return selector if selector in found else str(found[0])

    def _last(self) -> str:
        """The latest sweep, one's own first, that Slurm has not refused; the latest if it refused them all."""
        found = self._rows("latest_sweeps", own_name())
        if not found:
            raise NotFoundError(f"the ledger {self.path} has no sweeps yet: run one first")
        taken = (id_ for id_, state in found if state != RunState.PLANNED.value or not was_refused(self, id_))
        return str(next(taken, found[0][0]))

    def _summaries(self, query: str, *values: Any) -> Iterator[SweepSummary]:
        for key, sweep, state, looked_at, time, body in self._rows(query, *values):
            created = rows.event_from(sweep, (0, None, "control", 0, time, "sweep-created", body))
            yield SweepSummary(
                sweep=fold_sweep(created), state=RunState(state), counts=self._counts(key), looked_at=looked_at
            )

    def _counts(self, key: int) -> dict[RunState, int]:
        return {RunState(state): runs for state, runs in self._rows("tallies", key)}

    @_opened_once
    def counts(self, sweep: str, *, indices: Collection[int] | None = None) -> dict[RunState, int]:
        """How many runs of a sweep are in each state, without states that no run is in.

        :param indices: only of these runs; one that the sweep does not have is passed over
        """
        key = self._key(sweep).key
        if indices is None:
            return self._counts(key)
        return {RunState(state): runs for state, runs in self._rows("tallies_of_runs", _list(indices), key)}

    @_opened_once
    def extent(self, sweep: str) -> tuple[int, int]:
        """The lowest and the highest index of a sweep's runs; (0, -1) if it has none."""
        ((lowest, highest),) = self._rows("extent", self._key(sweep).key)
        return (0, -1) if lowest is None else (lowest, highest)

    @_opened_once
    def launches(self, sweep: str) -> list[Launch]:
        """The launches of a sweep, in order of their first run."""
        found = self._rows("read_launches", self._key(sweep).key)
        return [
            fold_launch(rows.event_from(sweep, (0, None, "control", 0, time, "launch-planned", body)))
            for time, body in found
        ]

    @_opened_once
    def submissions(self, sweep: str) -> list[Submission]:
        """The submissions of a sweep, in order of their number."""
        return [rows.submission_from(sweep, row) for row in self._rows("read_submissions", self._key(sweep).key)]

    # Runs ---------------------------------------------------------------------------------------------------

    @_opened_once
    def runs(
        self,
        sweep: str,
        *,
        states: Collection[RunState] | None = None,
        indices: Collection[int] | None = None,
        limit: int | None = None,
    ) -> list[Run]:
        """Runs of a sweep, in order of their index.

        :param states: only runs in one of these states
        :param indices: only these; an index that the sweep does not have is passed over
        :param limit: at most so many
        """
        key, most = self._key(sweep).key, _NO_LIMIT if limit is None else limit
        if indices is not None:
            found = self._rows("read_runs_by_index", _list(indices), key, _NO_LIMIT)
            runs = (rows.run_from(sweep, row) for row in found)
            return list(islice((run for run in runs if states is None or run.state in states), limit))
        if states is not None:
            each = (self._rows("read_runs_in_state", key, state.value, most, key) for state in set(states))
            found = sorted(chain.from_iterable(each), key=itemgetter(0))[:limit]
        else:
            found = self._rows("read_runs", key, most)
        return [rows.run_from(sweep, row) for row in found]

    def completed(self, keys: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Of runs that have completed, the latest with each of these keys: key -> sweep, index."""
        return {
            key: (sweep, run) for key, sweep, run, _ in self._rows("completed_by_key", _list(sorted(set(keys))))
        }

    @_opened_once
    def completed_with_config(self, digests: Iterable[str]) -> list[Run]:
        """The latest completed runs with one of these configurations, the latest first.

        A few of them, and only of recent sweeps: enough to say what a new run differs in.
        """
        bounds = (tunables.REUSE_SWEEPS, _list(digests), tunables.REUSE_LOOKED_AT)
        found = self._rows("completed_by_config", *bounds)
        return [run for sweep, index in found for run in self.runs(sweep, indices=[index])]

    def indices(self, sweep: str, *, states: Collection[RunState] | None = None) -> Iterator[int]:
        """The indices of a sweep's runs, in order. If all are selected, they are read lazily, a page at a time.

        :param states: only of runs in one of these states
        """
        key = self._key(sweep).key
        if states is not None:
            found = self._rows("read_indices_in_states", _list(state.value for state in states), key)
            yield from (run for (run,) in found)
            return
        last = -1
        while page := self._rows("read_indices", key, last, tunables.LEDGER_PAGE_RUNS):
            yield from (run for (run,) in page)
            last = page[-1][0]

    @_opened_once
    def run(self, sweep: str, index: int) -> Run:
        """One run.

        :raises NotFoundError: the sweep has no such run
        """
        found = self.runs(sweep, indices=[index])
        if not found:
            raise NotFoundError(
                f"sweep {sweep} has no run {index}; it has {counted(sum(self.counts(sweep).values()), 'run')}"
            )
        return found[0]

    @_opened_once
    def attempts(self, sweep: str, run: int | None = None, *, runs: Collection[int] | None = None) -> list[Attempt]:
        """Attempts of one run, of some runs, or of all, in order of run, submission and restart."""
        key = self._key(sweep).key
        wanted = [run] if run is not None else runs
        if wanted is None:
            found = self._rows("read_attempts", key)
        else:
            found = self._rows("read_attempts_of_runs", _list(wanted), key)
        return [rows.attempt_from(sweep, row) for row in found]

    @_opened_once
    def log_ends(self, sweep: str) -> dict[AttemptId, int]:
        """Where parts of logs end, in bytes: where another attempt began in the same file after this one."""
        found = self._rows("read_logs", self._key(sweep).key)
        return {
            AttemptId(run=run, submission=submission, restart=restart): after[-1]
            for (run, submission, restart, log, _), after in pairwise(found)
            if after[-2] == log
        }

    @_opened_once
    def config(self, sweep: str, run: int) -> dict[str, Any]:
        """The composed configuration of a run, interpolations unresolved: its base with its changes applied.

        :raises NotFoundError: the sweep has no such run
        """
        found = self._rows("read_config", self._key(sweep).key, run)
        if not found:
            raise NotFoundError(f"sweep {sweep} has no run {run}, or not its configuration")
        base, plan = map(json.loads, found[0])
        return values_of(patched(base["config"], plan["changes"]))

    @_opened_once
    def events(self, sweep: str, run: int | None = None, *, kinds: Collection[str] | None = None) -> list[Event]:
        """Events of one run, or of the whole sweep, in the order in which they became known.

        :param kinds: only these, such as ``attempt-ended``
        """
        key = self._key(sweep).key
        found = self._rows("read_events", key) if run is None else self._rows("read_events_of_run", *(key, run) * 2)
        return [rows.event_from(sweep, row) for row in found if kinds is None or row[5] in kinds]

    @_opened_once
    def facts(self, sweep: str, kind: type[Fact]) -> list[Fact]:
        """What the sweep has on record of a kind that belongs to no run, such as CodeFrozen, in order."""
        return [event.fact for event in self.events_of(sweep, kind)]

    @_opened_once
    def events_of(self, sweep: str, kind: type[Fact]) -> list[Event]:
        """As :meth:`facts`, with when each became a fact."""
        found = self._rows("read_events_of_sweep", self._key(sweep).key, kind.kind)
        return [rows.event_from(sweep, row) for row in found]

    @_opened_once
    def is_open(self, sweep: str) -> bool:
        """Whether a run of the sweep is not over."""
        return not all(state.is_final for state in self.counts(sweep))

    # Below --------------------------------------------------------------------------------------------------

    def _rows(self, query: str, *values: Any) -> list[rows.Row]:
        with self._file.opened() as connection:
            return connection.execute(QUERIES[query], values).fetchall()

    def _known_key(self, sweep: str) -> int | None:
        found = self._rows("sweep_key", sweep)
        return found[0][0] if found else None

    def _key(self, sweep: str) -> SweepKey:
        key = self._known_key(sweep)
        if key is None:
            raise NotFoundError(f"the ledger {self.path} has no sweep {sweep}: see `hpcorch ls`")
        return SweepKey(id=sweep, key=key)


def _list(values: Iterable[str] | Iterable[int]) -> str:
    return json.dumps(list(values))
