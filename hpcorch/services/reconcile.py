"""Bringing the ledger up to date with what the journals and the scheduler say.

Everything new first becomes a fact in a journal of the sweep, and the ledger takes facts only from there, so
that a lost ledger can be made again from the sweep directories.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from hpcorch.errors import RecordError
from hpcorch.journal.control import control_journal
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.reader import read_sweep
from hpcorch.ledger.expansion import manifests_in
from hpcorch.ledger.store import Ledger
from hpcorch.model.entities import Attempt, Run
from hpcorch.model.events import JobObserved
from hpcorch.model.ids import format_time, parse_time, utc_now
from hpcorch.model.states import RunState, SubmissionState
from hpcorch.services.local import orphaned
from hpcorch.services.observe import Known, from_accounting, from_queue
from hpcorch.services.past import read_past
from hpcorch.services.submit import CLOCK_SKEW, SETTLING_TIME, settle
from hpcorch.slurm.client import SlurmClient


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
        if note or any(segment.events for segment in segments):
            self.ledger.ingest(self.sweep, segments, manifests_in(self.layout.directory))

    def ask_slurm(self, client: SlurmClient) -> None:
        """Settle submissions, ask squeue about what is not over and sacct about what squeue has forgotten.

        At most three requests, whatever the number of runs.

        :raises SlurmUnavailableError: Slurm does not answer; what was known stays
        """
        self.ingest()
        if settle(self.layout, self.sweep, client, now=utc_now()):
            self.ingest()
        unfinished = self._unfinished()
        known = self._known(unfinished)
        if not known.submissions:
            return
        rows = client.queue(known.submissions)
        facts = from_queue(rows, known)
        alive = {row.job_id for row in rows if not row.state.is_final}
        silent = [run for run in unfinished if run.job_id is not None and run.job_id not in alive]
        if silent:
            forgotten = [run for run in silent if run.job_id not in {row.job_id for row in rows}]
            facts = self._ask_accounting(client, known, facts, forgotten)
        self._append(_settled(facts))
        self.ingest()

    def look_local(self) -> None:
        """Conclude what became of runs whose local pool is gone."""
        self.ingest()
        facts = orphaned(read_past(self.layout, self.sweep).submissions.values(), self._unfinished())
        self._append(facts)
        self.ingest()

    def _unfinished(self) -> list[Run]:
        return self.ledger.runs(self.sweep, states=[state for state in RunState if not state.is_final])

    def _known(self, unfinished: Iterable[Run]) -> Known:
        past = read_past(self.layout, self.sweep)
        wanted = {run.submission for run in unfinished}
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

    def _ask_accounting(
        self, client: SlurmClient, known: Known, facts: list[JobObserved], forgotten: list[Run]
    ) -> list[JobObserved]:
        """What sacct says, and of the rest what squeue said; without accounting, what being forgotten means."""
        submitted = min(parse_time(submission.intended_at) for submission in known.submissions.values())
        rows = client.accounting(known.submissions, submitted - CLOCK_SKEW)
        if rows is None:
            return [*facts, *_lost(forgotten)]
        spoken = from_accounting(rows, known)
        about = {(fact.submission, fact.run, fact.restart) for fact in spoken}
        return [*spoken, *(f for f in facts if (f.submission, f.run, f.restart) not in about)]

    def _append(self, facts: Iterable[JobObserved]) -> None:
        facts = list(facts)
        if not facts:
            return
        with control_journal(self.layout) as control:
            for fact in facts:
                control.append(fact)


def open_reconciler(ledger: Ledger, sweep: str) -> Reconciler:
    """A reconciler for a sweep that the ledger knows.

    :raises NotFoundError: it knows none of that id
    """
    known = ledger.sweep(sweep).sweep
    return Reconciler(ledger, SweepLayout(Path(known.directory)), known.id)


def _highest(attempts: Iterable[Attempt]) -> dict[tuple[int, int], Attempt]:
    """The highest restart of each (run, submission)."""
    highest: dict[tuple[int, int], Attempt] = {}
    for attempt in sorted(attempts, key=lambda item: item.restart):
        highest[attempt.run, attempt.submission] = attempt
    return highest


def _settled(facts: Iterable[JobObserved]) -> list[JobObserved]:
    """The facts that can be concluded from now.

    Slurm's COMPLETED about a run without a recorded end means that nobody knows its result. Since a network file
    system may show the end late, that is concluded only when the settling time has passed since.
    """
    latest = format_time(datetime.now(timezone.utc) - SETTLING_TIME)
    return [fact for fact in facts if fact.state != "COMPLETED" or (fact.end is not None and fact.end < latest)]


def _lost(forgotten: Iterable[Run]) -> list[JobObserved]:
    """Runs that ended without a word, that squeue has forgotten, and that no accounting remembers."""
    return [
        JobObserved(
            submission=run.submission,
            run=run.run,
            restart=max(run.attempts - 1, 0),
            state="LOST",
            witness="squeue",
            reason="Slurm has forgotten the job, there is no accounting, and the run recorded no end",
        )
        for run in forgotten
        if run.submission is not None
    ]
