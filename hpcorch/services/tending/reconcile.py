"""Updating the ledger with what journals and Slurm say.

Everything new first becomes a fact in a journal of the sweep, and the ledger takes facts only from there, so
that a lost ledger can be made again from the sweep directories.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from typing import TypeVar

from hpcorch import tunables
from hpcorch.errors import NotFoundError, RecordError, SlurmUnavailableError, UnavailableError
from hpcorch.journal.control import ControlJournal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.reader import Segment, owner, read_sweep
from hpcorch.ledger.store import Ledger
from hpcorch.ledger.writing.expansion import manifests_in
from hpcorch.model.entities import SBATCH, Run
from hpcorch.model.events import JobObserved, SweepCreated
from hpcorch.model.ids import AttemptId, utc_now
from hpcorch.model.job_states import JobState
from hpcorch.model.states import UNSETTLED, RunState
from hpcorch.services.local.processes import orphaned
from hpcorch.services.logs.paths import output_file
from hpcorch.services.observation.conclusions import (
    attributed,
    certain,
    heeded_signals,
    lingering_attempts,
    silent_attempts,
    unexplained_attempts,
)
from hpcorch.services.observation.from_absence import from_silence
from hpcorch.services.observation.from_sacct import from_accounting, own_accounts
from hpcorch.services.observation.from_squeue import from_queue, is_without_detail, own_rows, staying_runs
from hpcorch.services.observation.hidden_causes import with_memory, with_output_files, with_preemptions
from hpcorch.services.observation.known import KnownAttempts, known_attempts
from hpcorch.services.submission.settle import settle
from hpcorch.services.tending.ledger_journal import LedgerJournal, open_journal
from hpcorch.services.tending.ownership import check_may_ask, is_own
from hpcorch.slurm.client import SlurmClient

_T = TypeVar("_T")


class Reconciler:
    """Keeps one sweep's rows in an open, writable ledger up to date.

    :ivar journal: the sweep's; it changes when the sweep directory is moved, exchanged or deleted
    """

    def __init__(self, ledger: Ledger, journal: ControlJournal) -> None:
        self._ledger = ledger
        self.journal = journal

    @property
    def ledger(self) -> Ledger:
        """The ledger."""
        return self._ledger

    def ask(self, question: Callable[[Ledger], _T]) -> _T:
        """The ledger's answer."""
        return question(self.ledger)

    @property
    def layout(self) -> SweepLayout:
        """The sweep directory."""
        return self.journal.layout

    @property
    def sweep(self) -> str:
        """The sweep's id."""
        return self.journal.sweep

    @property
    def is_gone(self) -> bool:
        """Whether the sweep directory is gone, as far as was seen."""
        return isinstance(self.journal, LedgerJournal)

    @property
    def why_gone(self) -> str | None:
        """What became of the sweep directory, and what to do; None if it is there."""
        return self.journal.why if isinstance(self.journal, LedgerJournal) else None

    def ingest(self, *, note: bool = False, ended: Collection[AttemptId] = ()) -> None:
        """Take over what the journals have new. Cheap when there is nothing.

        The ledger notes the time of a look that has news, but of a script's jobs Slurm alone can tell.

        If the sweep directory is gone, there is nothing to take over until it is back.

        :param note: note the time of this look in any case
        :param ended: attempts that Slurm says are over: what their journals say is read, however old a view of the
            file system this host has
        :raises RecordError: the record is damaged, or incomplete
        :raises UnavailableError: it cannot be read now, or the ledger does not answer
        """
        with self._reading():
            if self.is_gone or owner(self.layout) != self.sweep:  # another sweep's may have its place
                self.find_journal()
            segments = [] if self.is_gone else self._news(ended)
        if note or any(segment.end > segment.start for segment in segments):
            looked = note or not self._is_script(segments)
            self.ledger.ingest(self.sweep, segments, manifests_in(self.layout), looked=looked)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Who waits goes on if a file server does not answer for a moment."""
        try:
            yield
        except OSError as error:
            raise UnavailableError(
                f"the record of sweep {self.sweep} cannot be read now ({error.strerror}: {error.filename}): check"
                " that its file system is mounted and answers, and that the folder is yours"
            ) from error

    def find_journal(self) -> None:
        """Look where the sweep's record is now, and what of it is left.

        :raises RecordError: there is none, and the ledger has nothing of it either
        """
        try:
            self.journal = open_journal(lambda: self.ledger, self.ledger.sweep(self.sweep).sweep)
        except NotFoundError as error:  # the ledger has nothing of it yet
            raise RecordError(f"there is no record of sweep {self.sweep} in {self.layout.directory}") from error

    def _news(self, ended: Collection[AttemptId]) -> list[Segment]:
        try:
            return list(read_sweep(self.layout, sweep=self.sweep, offsets=self._offsets(), ended=ended))
        except FileNotFoundError as error:
            raise RecordError(
                f"{error.filename} is missing in the record of sweep {self.sweep}: put it back; the ledger keeps"
                " what it has recorded"
            ) from error

    def _offsets(self) -> Mapping[str, int]:
        """Where to go on reading each journal."""
        return self.ledger.offsets(self.sweep)

    def _is_script(self, segments: Iterable[Segment]) -> bool:
        with suppress(NotFoundError):
            return self.ledger.sweep(self.sweep).sweep.sweeper == SBATCH
        facts = (event.fact for segment in segments for event in segment.events)
        return any(fact.sweeper == SBATCH for fact in facts if isinstance(fact, SweepCreated))

    def ask_slurm(self, client: SlurmClient) -> bool:
        """Settle submissions, ask squeue about what is not over and sacct about what squeue has forgotten.

        At most four requests, whatever the number of runs.

        :return: whether all runs are over, and a job of one still runs
        :raises SlurmUnavailableError: Slurm does not answer, or its database does not; what was known stays
        :raises UnavailableError: the sweep is another user's; or this machine belongs to another cluster, where the
            same ids are other jobs
        """
        self.ingest()
        check_may_ask(self.ledger.sweep(self.sweep).sweep, client, self.layout)
        if settle(self.journal, client, now=utc_now(), starts=not self.is_gone):
            self.ingest()
        history, attempts = self.journal.history(), self.ledger.attempts(self.sweep)
        unexplained = unexplained_attempts(attempts, history) if client.config().accounting else frozenset()
        lingering = lingering_attempts(history)
        asked = [*self._runs(UNSETTLED), *self._over(unexplained | lingering)]
        is_over = not asked
        if is_over:  # does a process stay whose run is over?
            asked = self._over(silent_attempts(attempts, history))
        known = known_attempts(asked, history, attempts)
        if not known.submissions:
            self.ingest(note=True)
            return False
        rows = own_rows(client.queue(known.submissions), known) if is_over else []
        if is_over:
            facts = from_queue(rows, known)
            self._append(fact for fact in facts if fact.job_state is JobState.LINGERING)
        else:
            curious = any((run.run, run.submission) in unexplained for run in asked)
            facts = self._ask(client, known, asked, curious=curious)
            facts = with_output_files(facts, self._output_file)
            self._append(certain(facts, known), known)
        self.ingest(note=True, ended={fact.attempt for fact in facts if fact.job_state.is_final})
        return any(row.state is JobState.RUNNING for row in rows)

    def _ask(
        self, client: SlurmClient, known: KnownAttempts, asked: Sequence[Run], *, curious: bool
    ) -> list[JobObserved]:
        """What Slurm has new, of runs.

        :param curious: ask sacct although squeue shows all that is not over
        """
        rows = own_rows(client.queue(known.submissions), known)
        alive = {(row.array_job_id, row.index) for row in rows if not row.state.is_final}
        names = {array if index is None else f"{array}_{index}" for array, index in alive}
        lingering = lingering_attempts(self.journal.history())
        silent = [
            run
            for run in asked
            if run.job_id is not None
            and run.submission not in known.packed.submissions
            and run.job_id not in names
            and (run.state in UNSETTLED or (run.run, run.submission) in lingering)
        ]
        silent_elements = known.packed.silent(alive)
        shown = from_queue(rows, known)

        def settled(facts: Sequence[JobObserved]) -> list[JobObserved]:
            explained = with_preemptions(facts, known, client)
            return known.packed.of_runs(explained, alive, now=datetime.now(timezone.utc))

        if not silent and not silent_elements and not curious and not any(map(is_without_detail, shown)):
            return settled(shown)
        try:
            accounted = client.accounting(known.submissions, known.since - timedelta(seconds=tunables.CLOCK_SKEW_S))
        except SlurmUnavailableError:
            # The controller's word counts without the database's.
            if not silent and not silent_elements:
                return settled(shown)
            self._append(certain(settled(shown), known), known)
            self.ingest()
            raise
        ours = own_accounts(accounted or [], known, self._directories())
        ends = with_memory(from_accounting(ours, known, alive), known, self.layout)
        facts = [*ends, *from_queue(rows, known.with_facts(ends))]
        by_now = known.with_facts(facts)
        now = datetime.now(timezone.utc)
        asked_about = {submission.submission for submission in known.submissions.values()}
        elements = [(run.run, run.submission) for run in silent if run.submission in asked_about]
        elements += silent_elements
        return settled([*facts, *from_silence(elements, by_now, now=now, accounting=accounted is not None)])

    def _directories(self) -> set[str]:
        """The sweep directory where it was made, and where it is."""
        return {str(self.layout.directory), self.ledger.sweep(self.sweep).sweep.directory}

    def staying(self, client: SlurmClient) -> frozenset[int]:
        """The runs that have recorded their end and whose job runs, however short a time ago that was.

        One request, and none where Slurm has told of the end of each. Nothing is recorded.

        :raises SlurmUnavailableError: Slurm does not answer
        """
        history, attempts = self.journal.history(), self.ledger.attempts(self.sweep)
        known = known_attempts(self._over(silent_attempts(attempts, history)), history, attempts)
        return (
            staying_runs(own_rows(client.queue(known.submissions), known), known)
            if known.submissions
            else frozenset()
        )

    def _output_file(self, fact: JobObserved) -> str:
        sweep = self.ledger.sweep(self.sweep).sweep
        return output_file(self.ledger, self.layout, sweep, fact.submission, fact.run)

    def look_local(self) -> None:
        """Conclude what became of runs whose local pool is gone; about another user's that user concludes it."""
        self.ingest()
        if not is_own(self.ledger.sweep(self.sweep).sweep, self.layout):
            return
        history = self.journal.history()
        unfinished = self._runs(state for state in RunState if not state.is_final)
        left = self._over(lingering_attempts(history))
        self._append(orphaned(history.submissions.values(), [*unfinished, *left]))
        self.ingest()

    def _over(self, unexplained: Collection[tuple[int, int]]) -> list[Run]:
        """Those of these runs that are over."""
        runs = self.ledger.runs(self.sweep, indices=sorted({run for run, _ in unexplained})) if unexplained else []
        return [run for run in runs if run.state not in UNSETTLED and (run.run, run.submission) in unexplained]

    def _runs(self, states: Iterable[RunState]) -> list[Run]:
        return self.ledger.runs(self.sweep, states=list(states))

    def _append(self, facts: Iterable[JobObserved], known: KnownAttempts | None = None) -> None:
        facts = list(facts)
        if not facts:
            return
        heeded = heeded_signals(known) if known is not None else frozenset()
        with self.journal.locked():  # a user may have asked for an end since Slurm reported it
            self.journal.append(*attributed(facts, self.journal.history().requests, heeded))


def open_reconciler(ledger: Ledger, sweep: str) -> Reconciler:
    """A reconciler for a sweep that the ledger knows.

    :raises NotFoundError: it knows none of that id
    :raises RecordError: the sweep's record is damaged where it says whose it is
    """
    return Reconciler(ledger, open_journal(lambda: ledger, ledger.sweep(sweep).sweep))
