"""Bringing the ledger up to date with what the journals and the scheduler say.

Everything new first becomes a fact in a journal of the sweep, and the ledger takes facts only from there, so
that a lost ledger can be made again from the sweep directories.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from hpcorch.errors import RecordError, SlurmUnavailableError, UnavailableError
from hpcorch.journal.control import control_journal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.reader import locate, read_sweep
from hpcorch.ledger.expansion import manifests_in
from hpcorch.ledger.store import Ledger
from hpcorch.model.entities import Attempt, Run
from hpcorch.model.events import JobObserved
from hpcorch.model.ids import format_time, parse_time, utc_now
from hpcorch.model.states import AttemptState, RunState, SubmissionState
from hpcorch.services.local import orphaned
from hpcorch.services.observe import Known, from_accounting, from_queue, own_accounts, own_rows
from hpcorch.services.past import read_past
from hpcorch.services.requests import attributed
from hpcorch.services.silence import from_silence
from hpcorch.services.submit import CLOCK_SKEW, settle
from hpcorch.slurm.client import SlurmClient

# For so long a network file system may show the end of a run late.
LATE_END = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Keeps one sweep's rows in an open, writable ledger up to date.

    :param sweep: the sweep's id
    """

    ledger: Ledger
    layout: SweepLayout
    sweep: str

    def ingest(self, *, note: bool = False) -> None:
        """Take over what the journals have new. Cheap when there is nothing.

        :param note: note the time of this look in the ledger even if nothing was new
        :raises RecordError: the sweep directory is gone
        """
        try:
            segments = list(read_sweep(self.layout, sweep=self.sweep, offsets=self.ledger.offsets(self.sweep)))
        except FileNotFoundError as error:
            raise RecordError(
                f"the record of sweep {self.sweep} is not at {self.layout.state}: the sweep directory was moved or"
                " deleted; what the ledger knows of it stays as it was"
            ) from error
        if note or any(segment.end > segment.start for segment in segments):
            self.ledger.ingest(self.sweep, segments, manifests_in(self.layout.directory))

    def ask_slurm(self, client: SlurmClient) -> None:
        """Settle submissions, ask squeue about what is not over and sacct about what squeue has forgotten.

        At most three requests, whatever the number of runs.

        :raises SlurmUnavailableError: Slurm does not answer, or its database does not; what was known stays
        :raises UnavailableError: this machine belongs to another cluster, where the same ids are other jobs
        """
        self.ingest()
        self._check_cluster(client)
        if settle(self.layout, self.sweep, client, now=utc_now()):
            self.ingest()
        asked = self._runs(state for state in RunState if not state.is_final or state is RunState.LOST)
        known = self._known(asked)
        if not known.submissions:
            return
        self._append(_settled(self._ask(client, known, asked), known))
        self.ingest()

    def _check_cluster(self, client: SlurmClient) -> None:
        """Only a look at the sweep's own cluster may conclude that a job is absent."""
        theirs = self.ledger.sweep(self.sweep).sweep.cluster
        if theirs is not None and (ours := client.config().cluster) != theirs:
            raise UnavailableError(
                f"sweep {self.sweep} is on the cluster {theirs}, and this machine belongs to {ours}, where the same"
                f" job ids are other jobs: ask from a login node of {theirs}"
            )

    def _ask(self, client: SlurmClient, known: Known, asked: Sequence[Run]) -> list[JobObserved]:
        rows = own_rows(client.queue(known.submissions), known)
        alive = {(row.array_job_id, row.index) for row in rows if not row.state.is_final}
        names = {f"{array}_{index}" for array, index in alive}
        silent = [run for run in asked if run.job_id is not None and run.job_id not in names]
        if not silent:
            return from_queue(rows, known)
        try:
            accounted = client.accounting(known.submissions, _earliest(known) - CLOCK_SKEW)
        except SlurmUnavailableError:
            # The controller's word counts without the database's.
            self._append(_settled(from_queue(rows, known), known))
            self.ingest()
            raise
        ours = own_accounts(accounted or [], known, str(self.layout.directory))
        ends = from_accounting(ours, known, alive)
        facts = [*ends, *from_queue(rows, known.with_facts(ends))]
        known = known.with_facts(facts)
        now = datetime.now(timezone.utc)
        asked_about = {submission.submission for submission in known.submissions.values()}
        elements = [(run.run, run.submission) for run in silent if run.submission in asked_about]
        return [*facts, *from_silence(elements, known, now=now, accounting=accounted is not None)]

    def look_local(self) -> None:
        """Conclude what became of runs whose local pool is gone."""
        self.ingest()
        unfinished = self._runs(state for state in RunState if not state.is_final)
        self._append(orphaned(read_past(self.layout, self.sweep).submissions.values(), unfinished))
        self.ingest()

    def _runs(self, states: Iterable[RunState]) -> list[Run]:
        return self.ledger.runs(self.sweep, states=list(states))

    def _known(self, asked: Iterable[Run]) -> Known:
        past = read_past(self.layout, self.sweep)
        wanted = {run.submission for run in asked}
        return Known(
            submissions={
                submission.job_id: submission
                for submission in past.submissions.values()
                if submission.job_id is not None
                and submission.submission in wanted
                and submission.state is SubmissionState.RELEASED
            },
            attempts=_highest(self.ledger.attempts(self.sweep)),
            observed=past.observed,
        )

    def _append(self, facts: Iterable[JobObserved]) -> None:
        facts = list(facts)
        if not facts:
            return
        with control_journal(self.layout) as control:
            for fact in attributed(facts, read_past(self.layout, self.sweep).requests):
                control.append(fact)


def open_reconciler(ledger: Ledger, sweep: str) -> Reconciler:
    """A reconciler for a sweep that the ledger knows.

    :raises NotFoundError: it knows none of that id
    :raises RecordError: the sweep's record is not in its directory
    """
    known = ledger.sweep(sweep).sweep
    return Reconciler(ledger, locate(Path(known.directory), known.id), known.id)


def _highest(attempts: Iterable[Attempt]) -> dict[tuple[int, int], Attempt]:
    """The highest restart of each (run, submission)."""
    highest: dict[tuple[int, int], Attempt] = {}
    for attempt in sorted(attempts, key=lambda item: item.restart):
        highest[attempt.run, attempt.submission] = attempt
    return highest


def _earliest(known: Known) -> datetime:
    return min(parse_time(submission.intended_at) for submission in known.submissions.values())


def _settled(facts: Iterable[JobObserved], known: Known) -> list[JobObserved]:
    """The facts that can be concluded from now.

    Slurm's COMPLETED about a run without a recorded end means that nobody knows its result. Since a network file
    system may show the end late, that is concluded only when the settling time has passed since.
    """
    latest = format_time(datetime.now(timezone.utc) - LATE_END)
    return [
        fact
        for fact in facts
        if fact.state != "COMPLETED"
        or (fact.end is not None and fact.end < latest)
        or _awaits_the_other_ranks(fact, known)
    ]


def _awaits_the_other_ranks(fact: JobObserved, known: Known) -> bool:
    attempt = known.attempts.get((fact.run, fact.submission))
    return attempt is not None and attempt.state is AttemptState.COMPLETING
